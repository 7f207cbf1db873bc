"""Models and prices for backtests without training."""

from common.exchange.universe import Universe
from common.forecast.conformal import Calibration
from common.forecast.forecaster import ModelForecaster
from common.forecast.representation import Residual
from common.prices.series import series_of_universe
from common.prices.windows import make_windows
from common.release.bundle import GENERAL, Bundle
from common.release.models import ModelFolder
from support.prices.panel import SPEC, SYMBOLS, fake_network, made_panel

PANEL = made_panel()
DAYS = PANEL.dates.to_numpy().astype("datetime64[D]")
UNIVERSE = Universe.from_symbols(SYMBOLS, specific=["MOVES"])
START, END = DAYS[90], DAYS[-1]


def served(network=fake_network) -> ModelFolder:
    """A general and a specific model that see every number of a window; THIN's forecasts are not trusted."""
    windows = make_windows(series_of_universe(PANEL, UNIVERSE), SPEC)
    kind = Residual.fit(windows.take(windows.cutoff <= START))
    ids = {stock.symbol: stock.stock_id for stock in UNIVERSE.stocks}
    general = ModelForecaster(network, kind, ids, {"THIN": False})
    own = ModelForecaster(lambda x, i: network(-x, i), kind, ids)
    bundles = {GENERAL: Bundle(general, SPEC, {}), "MOVES": Bundle(own, SPEC, {})}
    return ModelFolder(None, "residual", UNIVERSE, frozenset({"MOVES"}), bundles)


MODELS = served()
NOMINAL = Calibration.nominal(SPEC.horizons)
