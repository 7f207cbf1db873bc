"""Data, a loop and an undisturbed fit, once for all of them."""

import pytest
from support.prices.panel import SPEC, SYMBOLS, made_panel
from support.training.fitting import CONFIG, loop_of

from common.forecast.representation import Residual
from common.prices.series import series_from_panel
from common.prices.windows import Boundaries, make_windows
from train.fit.fit import FitData, FitState, fit
from train.fit.loop import EpochLoop


@pytest.fixture(scope="session")
def data() -> FitData:
    panel = made_panel()
    days = panel.dates.to_numpy().astype("datetime64[D]")
    windows = make_windows(series_from_panel(panel, SYMBOLS), SPEC)
    train, valid, _ = Boundaries(days[90], days[120], days[-1]).parts(windows)
    ids = {symbol: number for number, symbol in enumerate(SYMBOLS, start=1)}
    return FitData(train, valid, Residual.fit(train), ids)


@pytest.fixture(scope="session")
def loop() -> EpochLoop:
    """Shared by the tests, which thereby show that a job does not affect the next."""
    return loop_of()


@pytest.fixture(scope="session")
def undisturbed(data, tmp_path_factory) -> FitState:
    """A fit without interruption in its own loop."""
    return fit(loop_of(), data, CONFIG, seed=3, state_path=tmp_path_factory.mktemp("whole") / "state.npz")
