"""Refreshed releases: the result of a refresh, and whose networks a release has."""

from dataclasses import asdict, dataclass, field
from typing import Any

from common.errors import BundleError, ReleaseNotFound
from common.prices.panel import Panel
from common.release.manifest import Release
from common.release.registry import Registry
from common.release.subject import Check

REFRESHED = "refreshed"
"""Key of the manifest's ``info`` that describes a refresh, see `trained_release`."""


@dataclass(frozen=True)
class Refreshed:
    """The result of a refresh."""

    state: str
    """``refreshed``; ``current`` if there are no new sessions; ``planned`` in a dry run."""
    before: str
    """The release that was in production."""
    release: str
    """The release that is in production now; in a dry run, the one that would be."""
    last_before: str
    """Its last session, ISO date, like the two below."""
    first: str | None = None
    last: str | None = None
    """The first and the last new session."""
    sessions: int = 0
    rows: int = 0
    """New sessions and rows."""
    differences: int = 0
    """Rows up to its last session that differ from production's or are missing there; they are left for the
    next retraining."""
    posted: tuple[str, ...] = ()
    """Posted sessions, ISO dates, that the archive lacks; the release keeps its own rows of them."""
    stocks: int = 0
    forecasts: int = 0
    """Stocks and forecasts for the sessions after the last one."""
    checks: tuple[Check, ...] = field(default=(), repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"checks": [asdict(check) for check in self.checks]}


def trained_release(release: Release) -> dict[str, str]:
    """Return which release's training made the networks: ``id``, ``data_sha256`` and last session ``to``.

    It is ``release`` itself unless it was refreshed.
    """
    stored = release.info.get(REFRESHED)
    if stored:
        return dict(stored["trained"])
    last = Panel.load(release.file("panel.parquet")).dates[-1]
    return {"id": release.id, "data_sha256": release.info["data_sha256"], "to": f"{last:%Y-%m-%d}"}


def prices_end(release: Release) -> str:
    """Return the last session of a release's prices, ISO date."""
    stored = release.info.get(REFRESHED)
    return str(stored["to"]) if stored else trained_release(release)["to"]


def networks_of(registry: Registry, release_id: str | None) -> str | None:
    """Return the id of the release whose training made a release's networks.

    It is ``release_id`` itself unless that was refreshed, or cannot be read.
    """
    try:
        refreshed = registry.resolve(release_id).info.get(REFRESHED) if release_id else None
    except (BundleError, ReleaseNotFound):
        refreshed = None
    return refreshed["trained"]["id"] if refreshed else release_id
