"""The plan of a small run."""

from common.exchange.universe import Universe
from common.presets import TrainConfig
from common.prices.series import series_from_panel
from common.prices.windows import Boundaries, make_windows
from support.prices.panel import SPEC, SYMBOLS, made_panel
from train.run.plan import Plan, make_plan

PANEL = made_panel()
DATES = PANEL.dates.to_numpy().astype("datetime64[D]")
LIMITS = Boundaries(DATES[90], DATES[115], DATES[-1])
WINDOWS = make_windows(series_from_panel(PANEL, SYMBOLS), SPEC)
CONFIG = TrainConfig(window=SPEC, minimum_windows=50)
UNIVERSE = Universe.from_symbols(SYMBOLS, specific=SYMBOLS)


def plan_of(config: TrainConfig = CONFIG, universe: Universe = UNIVERSE, windows=WINDOWS, only=()) -> Plan:
    return make_plan(config, universe, [windows], LIMITS, only=only)
