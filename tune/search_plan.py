"""Plan a search: its work, stocks and folds, and its id."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import ConfigError, UniverseError
from common.exchange.universe import Universe
from common.presets import SplitSpec, TrainConfig
from common.prices.panel import Panel
from common.prices.series import series_of_universe
from common.release.bundle import GENERAL
from train.run.dataset import RunDataset, RunSpec
from train.run.plan import make_plan
from tune.folds import FoldDataset, make_folds
from tune.space import SearchSpace, defaults
from tune.spec import Sampler, SearchSpec
from tune.study import QUICK_SIZES, SIZES


@dataclass(frozen=True)
class SearchBudget:
    """The amount of work of a search."""

    trials: int = 40
    """Number of proposals."""
    folds: int = 3
    epochs: int = 6
    windows_per_epoch: int = 24_000
    sweep_seeds: int = 2
    """Seeds of the comparison of embedding sizes; 0 switches it off."""
    sizes: tuple[int, ...] = SIZES


QUICK = SearchBudget(trials=8, folds=2, epochs=2, windows_per_epoch=1_600, sweep_seeds=1, sizes=QUICK_SIZES)


@dataclass(frozen=True)
class SearchPlan:
    """A planned search; the same settings, stocks, prices and work always give the same plan."""

    spec: SearchSpec
    full: TrainConfig
    """The user's settings, without the reductions of a quick search."""
    panel: Panel
    seen: Panel
    """The prices up to the end of the validation part."""
    folder: Path
    left_out: dict[str, str]
    """Stocks of the model that have too little history, with the reason."""


def plan_search(
    config: TrainConfig,
    universe: Universe,
    panel: Panel,
    *,
    model: str = GENERAL,
    space: SearchSpace | None = None,
    effort: SearchBudget = SearchBudget(),
    full: TrainConfig | None = None,
    asha: bool = True,
    sampler: Sampler = "tpe",
    home: Path,
    out: Path | None = None,
) -> SearchPlan:
    """Plan a search; writes nothing.

    Raises
    ------
    ConfigError
        If the history is too short for the folds, or ``model`` is not a model that can be searched.
    UniverseError
        If ``model`` names a stock without a specific model.
    """
    space = space or SearchSpace()
    scope, _, wanted = model.partition(":")
    stocks = _stocks(universe, model, scope, wanted)
    defaults(config, scope)
    longest = space.window_size.ends[1]
    if scope == GENERAL and longest > config.window.size:
        raise ConfigError(
            f"space: window_size: got {longest:g} days, but a window has {config.window.size}. Use fewer, or "
            "raise window.size in the settings."
        )
    limits = RunDataset(home, RunSpec(config, universe, panel.source, ""), panel).limits
    seen = panel.as_of(limits.valid_end.astype("datetime64[D]").astype(object))
    folds = make_folds(
        np.unique(series_of_universe(seen, universe).dates),
        limits,
        effort.folds,
        shortest_training=config.window.size + max(config.window.horizons),
    )
    skipped: dict[str, str] = {}
    for fold in reversed(folds):
        skipped |= _skipped(config, universe, seen, fold, stocks)
    jobs = tuple(stock for stock in stocks if stock not in skipped) if scope != GENERAL else (GENERAL,)
    left_out = {stock: skipped[stock] for stock in stocks if stock in skipped}
    if not jobs:
        reasons = "; ".join(f"{stock}: {reason}" for stock, reason in left_out.items())
        raise ConfigError(f"--model {model}: no stock to search with. {reasons}.")
    spec = SearchSpec(
        config=config,
        universe=universe,
        source=panel.source,
        data_sha256=panel.fingerprint(),
        seen_sha256=seen.fingerprint(),
        model=model,
        jobs=jobs,
        space=space,
        folds=tuple(folds),
        epochs=effort.epochs,
        windows_per_epoch=effort.windows_per_epoch,
        asha=asha,
        sampler=sampler,
    )
    return SearchPlan(spec, full or config, panel, seen, out or home / "tuning" / spec.id, left_out)


def _stocks(universe: Universe, model: str, scope: str, wanted: str) -> tuple[str, ...]:
    specific = tuple(stock.symbol for stock in universe.specific)
    if model == GENERAL:
        return ()
    if scope != "specific" or not wanted:
        raise ConfigError(f"--model: got {model!r}; need general, specific:SYM or specific:all.")
    if wanted == "all":
        return specific
    if wanted not in specific:
        raise UniverseError(
            f"--model: {wanted} has no model of its own. Stocks that have one: {', '.join(specific)}."
        )
    return (wanted,)


def _skipped(
    config: TrainConfig, universe: Universe, seen: Panel, fold: SplitSpec, stocks: tuple[str, ...]
) -> dict[str, str]:
    """Return the stocks with too little history in a fold, with the reason."""
    config = config.model_copy(update={"split": fold})
    dataset = FoldDataset(Path(), RunSpec(config, universe, seen.source, ""), seen)
    return make_plan(config, universe, [dataset.windows], dataset.limits, only=stocks or ("",)).skipped
