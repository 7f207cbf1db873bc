"""One backtest from a release's name to its figures: period, prices, weights fixed or refitted, rivals."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common import storage
from common.errors import BacktestError
from common.presets import TrainConfig
from common.prices.panel import Panel
from common.release.forecasts import Networks, ReleasedModels
from common.release.manifest import Release
from common.release.registry import Registry
from train.evaluation.backtest import Backtest, backtest, windows_until
from train.evaluation.evidence import described
from train.evaluation.summary import summarise
from train.progress.console import Mode

OURS = "nsecast"
COPIED_STOCKS, COPIED_SHARE = 5, 0.9
"""So many traded stocks, and such a share of them, repeat price and volume only on a copied day."""
VERSION = 3
"""Raised when the same inputs no longer give the same forecasts: what was kept is not read again."""


@dataclass(frozen=True)
class BacktestPlan:
    """What is to be measured, and where its results are kept."""

    models: ReleasedModels
    panel: Panel
    start: np.datetime64
    end: np.datetime64
    refit_every: int | None
    """Sessions between two trainings on all that was known; None: the release's weights throughout."""
    folder: Path

    @property
    def weights(self) -> str:
        every = self.refit_every
        return f"refitted every {every} sessions on all that was known" if every else "fixed"


def plan_study(
    models: ReleasedModels,
    archive: Panel | None,
    home: Path,
    *,
    start: np.datetime64 | None = None,
    end: np.datetime64 | None = None,
    refit_every: int | None = None,
    networks: Networks | None = None,
) -> BacktestPlan:
    """Settle the period and the prices; writes nothing.

    Parameters
    ----------
    archive : prices that the release does not have yet; a row that both have is the release's, unless the
        other one became known later
    start, end : first and last cutoff; default: from the last date that the networks have seen to the last
        session
    networks : which networks of a refitted release; default: the served ones if there are newer prices than
        these have seen, unless ``start`` is before, else the evaluated ones

    Raises
    ------
    BacktestError
        If real and invented prices would be mixed, the period is empty, or it begins before the models
        were chosen, so that fixed weights would be judged on what they have seen.
    """
    panel = models.panel
    if archive is not None:
        if archive.synthetic != panel.synthetic:
            kinds = ["synthetic" if each.synthetic else "real" for each in (panel, archive)]
            raise BacktestError(
                f"release {models.release.id} is of {kinds[0]} prices and the archive of {kinds[1]} ones. "
                "Choose an archive of the same kind."
            )
        _refuse_copied_start(panel, archive)
        panel = panel.merge(archive)
    models = ReleasedModels(models.release, networks or _networks(models.release, panel, start))
    chosen_on = np.datetime64(models.seen_until)
    start = chosen_on if start is None else start
    end = panel.dates[-1].to_datetime64().astype("datetime64[D]") if end is None else end
    if start > end:
        raise BacktestError(f"period: {start} to {end} is empty. Choose --from before --to.")
    if start < chosen_on and not refit_every:
        raise BacktestError(
            f"--from {start}: the {models.networks} networks of release {models.release.id} were fitted and "
            f"chosen on prices to {chosen_on}, so what is before is no test of them. Use --from {chosen_on} "
            f"or later, {_HINT[models.networks]}--refit-every N, which trains for each stretch on what was "
            "known then."
        )
    published = f"{models.release.id} {models.release.created.isoformat()}"
    key = [VERSION, published, panel.fingerprint(), str(start), str(end), refit_every, models.networks]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:8]
    folder = home / "backtests" / models.release.id / f"{start}_{end}-{digest}"
    return BacktestPlan(models, panel, start, end, refit_every, folder)


_HINT: dict[Networks, str] = {"served": "--networks evaluated, or ", "evaluated": "or "}


def _networks(release: Release, panel: Panel, start: np.datetime64 | None) -> Networks:
    """The served networks for days after the prices that they have seen, else the evaluated ones."""
    seen = np.datetime64(ReleasedModels(release).seen_until)
    newest = panel.dates[-1].to_datetime64().astype("datetime64[D]")
    return "served" if newest > seen and (start is None or start >= seen) else "evaluated"


def _refuse_copied_start(panel: Panel, archive: Panel) -> None:
    """Raise BacktestError if the archive begins on a copied day: its reader could not see that."""
    first = archive.dates[0]
    before = panel.frame[(panel.frame["date"] < first) & (panel.frame["volume"] > 0)]
    if first in panel.dates or not len(before):
        return
    before = before[before["date"] == before["date"].max()]
    start = archive.frame[(archive.frame["date"] == first) & (archive.frame["volume"] > 0)]
    both = start.merge(before, on="symbol", suffixes=("", "_before"))
    same = (both["close"] == both["close_before"]) & (both["volume"] == both["volume_before"])
    if len(both) >= COPIED_STOCKS and same.mean() > COPIED_SHARE:
        raise BacktestError(
            f"--archive: its first session, {first:%Y-%m-%d}, repeats the prices and volumes of the last one "
            "that the release has, so its true closes cannot be found. Add the file of the day before it."
        )


def run_study(
    study: BacktestPlan,
    *,
    workers: int | None = None,
    mode: Mode | None = None,
    address: str | None = None,
    announce: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Backtest:
    """Every forecast of the period. With refits, each stretch is forecast by models trained before it."""
    if not study.refit_every:
        return backtest(
            study.models.models,
            study.panel,
            study.models.calibration,
            start=study.start,
            end=study.end,
            progress=progress,
        )
    stretches = _stretches(study)
    parts = []
    for number, (first, last, data_end) in enumerate(stretches, start=1):
        announce(f"refit {number} of {len(stretches)}: trained on prices to {first}, for {first} to {last}")
        models = _refit(study, first, data_end, workers, mode, address)
        parts.append(
            backtest(models.models, study.panel, models.calibration, start=first, end=last, progress=progress)
        )
    table = pd.concat([part.table for part in parts], ignore_index=True)
    table = table.sort_values(["symbol", "cutoff", "horizon"], ignore_index=True)
    windows = windows_until(study.panel, study.models.models, study.end)
    windows = windows.take(windows.cutoff >= study.start)
    return Backtest(table, windows, parts[-1].calibration)


def _stretches(study: BacktestPlan) -> list[tuple[np.datetime64, np.datetime64, np.datetime64]]:
    """(first cutoff, last cutoff, last session its targets need) of each refit."""
    sessions = study.panel.dates.to_numpy().astype("datetime64[D]")
    inside = np.flatnonzero((sessions >= study.start) & (sessions <= study.end))
    far, every = study.models.models.window.horizons[-1], study.refit_every or 1
    found = []
    for place in range(0, len(inside), every):
        stretch = inside[place : place + every]
        beyond = min(stretch[-1] + far, len(sessions) - 1)
        if stretch[0] < len(sessions) - 1:
            found.append((sessions[stretch[0]], sessions[stretch[-1]], sessions[beyond]))
        elif found:  # a training needs a session after it to be scored on
            found[-1] = (found[-1][0], sessions[-1], sessions[-1])
    if not found:
        raise BacktestError(
            f"no session from {study.start} to {study.end} with another one after it. Choose another period."
        )
    return found


def _refit(
    study: BacktestPlan,
    first: np.datetime64,
    data_end: np.datetime64,
    workers: int | None,
    mode: Mode | None,
    address: str | None,
) -> ReleasedModels:
    """Models chosen, then fitted, on all that was known on ``first``, by the release's own settings."""
    from train.pipeline.training import execute, plan_run

    info = study.models.release.info
    sessions = study.panel.dates.to_numpy().astype("datetime64[D]")
    span = int(
        np.searchsorted(sessions, np.datetime64(info["valid_end"]))
        - np.searchsorted(sessions, np.datetime64(info["train_end"]))
    )
    place = int(np.searchsorted(sessions, first))
    if place <= span:
        raise BacktestError(
            f"--from {first}: validation takes {span} sessions and the prices begin on {sessions[0]}. "
            "Choose a later start."
        )
    stored = json.loads(study.models.release.file("config.json").read_bytes())
    stored["split"] |= {"train_end": str(sessions[place - span]), "valid_end": str(first)}
    config = TrainConfig.parse(stored, where="the release's config.json")
    panel = study.panel.as_of(str(data_end))
    run = plan_run(config, study.models.universe, panel, study.folder / "refits")
    outcome, _ = execute(run, workers=workers, mode=mode, address=address, hand_over=False, refit_to=first)
    return ReleasedModels(Registry(run.home).open(outcome.release.id))


def figures(tables: dict[str, pd.DataFrame], study: BacktestPlan, by: tuple[str, ...] = ()) -> pd.DataFrame:
    """`summarise` of each model's forecasts, with the column ``model``, in the order given."""
    parts = []
    for name, table in tables.items():
        found = summarise(described(table, study.models.universe), ["horizon", *by])
        found.insert(0, "model", name)
        parts.append(found)
    return pd.concat(parts, ignore_index=True)


def keep(study: BacktestPlan, ours: pd.DataFrame, found: pd.DataFrame) -> dict[str, Any]:
    """Store the forecasts and the figures; returns the description stored beside them.

    Figures of models that an earlier call measured on the same forecasts are kept.
    """
    path = study.folder / "backtest.json"
    if storage.exists(path):
        earlier = pd.DataFrame(json.loads(path.read_bytes())["figures"])
        found = pd.concat([found, earlier[~earlier["model"].isin(found["model"])]], ignore_index=True)
    record = {
        "release": study.models.release.id,
        "from": str(study.start),
        "to": str(study.end),
        "weights": study.weights,
        "networks": study.models.networks,
        "source": study.panel.source,
        "data_sha256": study.panel.fingerprint(),
        "figures": storage.finite(found.to_dict(orient="records")),
    }
    storage.write_with(study.folder / f"{OURS}.parquet", lambda path: ours.to_parquet(path, index=False))
    storage.write_json(path, record)
    return record
