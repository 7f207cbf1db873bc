"""A backtest from end to end: its period and prices, with fixed or refitted weights, and its figures."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common import storage
from common.errors import BacktestError
from common.prices.panel import Panel
from common.prices.windows import Windows
from common.release.learning import windows_until
from common.release.manifest import Release
from common.release.released_models import Networks, ReleasedModels
from train.evaluation.backtest import Backtest, backtest
from train.evaluation.evidence import add_stock_columns
from train.evaluation.summary import summarise
from train.pipeline.backtest_refits import refitted, stretches_of
from train.progress.console import Mode

OURS = "nsecast"
COPIED_STOCKS, COPIED_SHARE = 5, 0.9
"""A session in which this share of at least this many traded stocks repeats price and volume is a copy."""
VERSION = 4
"""Increased when the same inputs no longer give the same forecasts: stored ones are not read again."""


@dataclass(frozen=True)
class BacktestPlan:
    """What a backtest measures, and the folder of its results."""

    models: ReleasedModels
    panel: Panel
    start: np.datetime64
    end: np.datetime64
    refit_every: int | None
    """Sessions between two trainings on all prices known by then; None uses the release's weights."""
    folder: Path

    @cached_property
    def windows(self) -> Windows:
        """The input windows, one per symbol and cutoff."""
        windows = windows_until(self.panel, self.models.models, self.end)
        return windows.take(windows.cutoff >= self.start)

    @property
    def weights(self) -> str:
        every = self.refit_every
        return f"refitted every {every} sessions on all that was known" if every else "fixed"


def plan_backtest(
    models: ReleasedModels,
    archive: Panel | None,
    home: Path,
    *,
    start: np.datetime64 | None = None,
    end: np.datetime64 | None = None,
    refit_every: int | None = None,
    networks: Networks | None = None,
) -> BacktestPlan:
    """Choose the period and the prices of a backtest; writes nothing.

    Parameters
    ----------
    archive : newer prices than the release's; of a row in both, the release's is used unless the archive's
        became known later
    start, end : first and last cutoff; default: from the last date that the networks have seen to the last
        session
    networks : which networks of a refitted release; default: the served ones if there are newer prices than
        these have seen, unless ``start`` is before, else the evaluated ones

    Raises
    ------
    BacktestError
        If real and synthetic prices would be mixed, the period is empty, or it starts before the end of
        validation, so that fixed weights would be tested on prices they were fitted or chosen on.
    """
    panel = models.panel
    if archive is not None:
        if archive.synthetic != panel.synthetic:
            kinds = ["synthetic" if prices.synthetic else "real" for prices in (panel, archive)]
            raise BacktestError(
                f"release {models.release.id} has {kinds[0]} prices and the archive {kinds[1]} ones. Choose "
                "an archive of the same kind."
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
            f"chosen on prices to {chosen_on}, so earlier forecasts do not test them. Use --from {chosen_on} "
            f"or later, {_HINT[models.networks]}--refit-every N, which trains for each stretch on the prices "
            "known by then."
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
    """Raise BacktestError if the archive starts with a copied session, which its reader cannot detect."""
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
            "of the release, so its true closes are unknown. Add the file of the day before it."
        )


def run_backtest(
    plan: BacktestPlan,
    *,
    workers: int | None = None,
    mode: Mode | None = None,
    address: str | None = None,
    announce: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Backtest:
    """Forecast the whole period; with refits, models trained before each stretch forecast it."""
    if not plan.refit_every:
        return backtest(
            plan.models.models,
            plan.panel,
            plan.models.calibration,
            start=plan.start,
            end=plan.end,
            progress=progress,
        )
    far = plan.models.models.window.horizons[-1]
    stretches = stretches_of(plan.panel, plan.start, plan.end, plan.refit_every, far)
    parts = []
    for number, (first, last, data_end) in enumerate(stretches, start=1):
        announce(f"refit {number} of {len(stretches)}: trained on prices to {first}, for {first} to {last}")
        models = refitted(
            plan.models,
            plan.panel,
            first,
            data_end,
            plan.folder / "refits",
            workers=workers,
            mode=mode,
            address=address,
        )
        parts.append(
            backtest(models.models, plan.panel, models.calibration, start=first, end=last, progress=progress)
        )
    table = pd.concat([part.table for part in parts], ignore_index=True)
    table = table.sort_values(["symbol", "cutoff", "horizon"], ignore_index=True)
    return Backtest(table, parts[-1].calibration)


def summarise_models(
    tables: dict[str, pd.DataFrame], plan: BacktestPlan, by: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Summarise each model's forecasts with `summarise`; the column ``model`` comes first."""
    universe = plan.models.universe
    parts = {
        name: summarise(add_stock_columns(table, universe), ["horizon", *by])
        for name, table in tables.items()
    }
    return pd.concat(parts, names=["model"]).reset_index("model").reset_index(drop=True)


def store_backtest(
    plan: BacktestPlan, ours: pd.DataFrame, measured: pd.DataFrame, worth: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Store the forecasts, the figures and their worth (`Worth.as_dict`); return the stored description.

    Figures of other models from earlier calls stay. ``worth`` is null where it was not measured.
    """
    path = plan.folder / "backtest.json"
    if storage.exists(path):
        earlier = pd.DataFrame(json.loads(path.read_bytes())["figures"])
        others = earlier[~earlier["model"].isin(measured["model"])]
        measured = pd.concat([measured, others], ignore_index=True)
    record = {
        "release": plan.models.release.id,
        "from": str(plan.start),
        "to": str(plan.end),
        "weights": plan.weights,
        "networks": plan.models.networks,
        "source": plan.panel.source,
        "data_sha256": plan.panel.fingerprint(),
        "figures": storage.finite(measured.to_dict(orient="records")),
        "worth": worth,
    }
    storage.write_with(plan.folder / f"{OURS}.parquet", lambda path: ours.to_parquet(path, index=False))
    storage.write_json(path, record)
    return record
