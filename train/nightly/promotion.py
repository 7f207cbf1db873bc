"""Promote a newly trained release, whose prices never end before those of production."""

from typing import Any

from common.prices.panel import Panel
from common.release.refresh import refresh_release
from common.release.refreshed import networks_of
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from train.gate.promotion import is_sound


def promote_with_newest_prices(
    registry: Registry, release: str, against: str | None, evidence: dict[str, Any]
) -> dict[str, Any]:
    """Put a release in production instead of the networks that it was judged against.

    If production was refreshed meanwhile and has later sessions than the release, it is the release refreshed
    with these sessions that goes to production. The caller holds the lock of `common.release.lock`.

    Parameters
    ----------
    against : the release in production when ``release`` was judged

    Returns
    -------
    dict
        ``production`` and what it ``was``; ``refresh``: see `Refreshed.as_dict`, None without later sessions.

    Raises
    ------
    GateClosed
        If other networks went to production meanwhile, or the later sessions are refused.
    """
    before, newer, refreshed = registry.production(), None, None
    if networks_of(registry, before) == networks_of(registry, against):
        against, newer = before, _newer_prices(registry, release, before)
    if networks_of(registry, before) == release:
        return {"production": before, "was": against, "refresh": None}  # promoted by hand meanwhile
    if newer is None:
        registry.promote(release, evidence=evidence, instead_of=against)
    else:
        models, panel = newer
        refreshed = refresh_release(
            registry, models, panel, partial=True, instead_of=against, evidence=evidence
        ).as_dict()
    return {"production": registry.production(), "was": against, "refresh": refreshed}


def _newer_prices(
    registry: Registry, release: str, production: str | None
) -> tuple[ReleasedModels, Panel] | None:
    """Return a release's models and production's prices if these have later sessions, else None."""
    if production is None or not is_sound(registry, production):
        return None
    ours, theirs = (ReleasedModels(registry.open(name)) for name in (release, production))
    later = theirs.panel.dates[-1] > ours.panel.dates[-1]
    return (ours, theirs.panel) if later and ours.panel.synthetic == theirs.panel.synthetic else None
