"""Refresh: a release with the networks of the one in production and newer prices.

The new rows join the panel, the interval levels learn from their outcomes, and all other files are those of
the previous release. The last step moves production, atomically; the same call continues after a stop.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from common import storage
from common.errors import ArchiveError, GateClosed
from common.forecast.conformal import Calibration
from common.prices.changes import compare_panels, refuse_damage
from common.prices.panel import Panel
from common.release import sanity
from common.release.alias import rolled_back
from common.release.data_gate import check_prices, refuse_older, refuse_prices
from common.release.learning import learn_outcomes
from common.release.manifest import MANIFEST, Release
from common.release.posted_sessions import with_posted
from common.release.refreshed import REFRESHED, Refreshed, trained_release
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from common.release.subject import Subject, run_check

PANEL, CALIBRATION = "panel.parquet", "calibration.json"
"""The files that a refresh replaces."""


def add_rows(before: Panel, archive: Panel) -> Panel:
    """Return a panel with the rows that became known after its last session.

    Those are new sessions, and repairs of earlier ones by the session that followed. Other differences in
    older rows are ignored, so that what was known on an evening does not change.
    """
    new = archive.frame[archive.frame["known"] > before.dates[-1]]
    if new.empty:
        return before
    return before.merge(Panel(new.reset_index(drop=True), before.source))


def refresh_release(
    registry: Registry,
    models: ReleasedModels,
    archive: Panel,
    *,
    since: pd.Timestamp | None = None,
    partial: bool = False,
    dry_run: bool = False,
    instead_of: str | None = None,
    evidence: dict[str, Any] | None = None,
) -> Refreshed:
    """Publish and promote a release with the networks of ``models`` and newer prices.

    The caller holds the lock of `common.release.lock`. Posted sessions that an archive lacks are kept
    (`common.release.posted_sessions`).

    Parameters
    ----------
    archive : prices that may be newer than the release's
    since : ``archive`` is complete from this day on; default: from its start
    partial : ``archive`` may lack any of the release's rows
    instead_of : the release in production; default: that of ``models``
    dry_run : stop before writing anything
    evidence : JSON values for the history of the alias

    Raises
    ------
    ArchiveError
        If one panel is synthetic and the other is not, or sessions or closes of the release are missing.
    GateClosed
        If the prices are older, incomplete or implausible; if forecasts from them fail the checks; if the
        same release was rolled back; or if another release went to production meanwhile.
    """
    before, base = models.panel, models.release
    if archive.synthetic != before.synthetic:
        kinds = ["synthetic" if panel.synthetic else "real" for panel in (before, archive)]
        raise ArchiveError(f"{base.id} in production has {kinds[0]} prices and the new ones are {kinds[1]}.")
    archive, posted = (archive, ()) if partial else with_posted(archive, before, registry.history())
    differences = _compare(before, archive, base.id, since, partial)
    result = Refreshed("current", base.id, base.id, _day(before), differences=differences, posted=posted)
    after = add_rows(before, archive)
    new = after.dates[after.dates > before.dates[-1]]
    if not len(new):
        return result
    checks = check_prices(before, after, models.universe.symbols, today=models.universe.clock.today())
    refuse_prices(checks, base.id)
    info = base.info | {
        "data_sha256": after.fingerprint(),
        REFRESHED: {"from": base.id, "to": _day(after), "trained": trained_release(base)},
    }
    release_id, published = _free_id(registry, info)
    result = replace(
        result,
        state="planned" if dry_run else "refreshed",
        release=release_id,
        first=f"{new[0]:%Y-%m-%d}",
        last=_day(after),
        sessions=len(new),
        rows=len(after.frame) - len(before.frame),
        checks=tuple(checks),
    )
    if dry_run:
        return result
    if release_id in rolled_back(registry.history()):
        raise GateClosed(
            f"{release_id} was in production and was rolled back; only `nsecast models promote {release_id}` "
            "puts it back. Newer prices lead to a new release."
        )
    if not published:
        _publish(registry, base, after, learn_outcomes(models, after), release_id, info)
    subject = Subject(registry.open(release_id))
    checks += [run_check(subject, *check) for check in sanity.CHECKS]
    refuse_prices(checks, base.id)
    moved = {"refresh": {name: getattr(result, name) for name in ("before", "first", "last", "rows")}}
    registry.promote(release_id, evidence=moved | (evidence or {}), instead_of=instead_of or base.id)
    forecasts = subject.forecasts
    return replace(
        result, stocks=len(forecasts), forecasts=sum(map(len, forecasts.values())), checks=tuple(checks)
    )


def _compare(before: Panel, archive: Panel, release: str, since: pd.Timestamp | None, partial: bool) -> int:
    """Refuse damaged or older prices, and count the older rows that differ or are missing in the release."""
    refuse_older(archive.dates[-1], before.dates[-1])
    start = before.dates[0] if since is None else since
    old = Panel(before.frame[before.frame["date"] >= start].reset_index(drop=True), before.source)
    if old.frame.empty:
        return 0
    change = compare_panels(old, archive)
    different = int(change["rows_changed"]) + _late_rows(old, archive)
    if partial:
        return different
    refuse_damage(old, archive, change, release)
    return int(change["rows_lost"]) + different


def _late_rows(old: Panel, archive: Panel) -> int:
    """Count the rows of the release's time that it does not have and that `add_rows` does not take."""
    frame, end = archive.frame, old.dates[-1]
    chosen = frame[(frame["date"] >= old.dates[0]) & (frame["date"] <= end) & (frame["known"] <= end)]
    both = chosen[["symbol", "date"]].merge(old.frame[["symbol", "date"]], how="left", indicator=True)
    return int((both["_merge"] == "left_only").sum())


def _free_id(registry: Registry, info: dict[str, Any]) -> tuple[str, bool]:
    """Return the id of the refreshed release, and whether it was published before."""
    day = info[REFRESHED]["to"].replace("-", "")
    name = f"{day}-{info.get('run', 'refreshed')}"
    taken = {release.id: release for release in registry.releases()}
    number = 1
    while (release_id := name if number == 1 else f"{name}-{number}") in taken:
        if taken[release_id].state == "ok" and taken[release_id].info == info:
            return release_id, True
        number += 1
    return release_id, False


def _publish(
    registry: Registry,
    base: Release,
    panel: Panel,
    calibration: Calibration,
    release_id: str,
    info: dict[str, Any],
) -> None:
    staging = registry.stage(release_id)
    try:
        for name in base.files:
            if name not in (PANEL, CALIBRATION, MANIFEST):
                _link(base.file(name), staging / name)
        panel.save(staging / PANEL)
        storage.write_json(staging / CALIBRATION, calibration.as_dict())
        registry.publish(staging, release_id, info=info)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """Link a file of a release, which never changes; copy it where the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _day(panel: Panel) -> str:
    return f"{panel.dates[-1]:%Y-%m-%d}"
