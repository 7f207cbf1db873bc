"""Let the interval levels of a release learn from new outcomes."""

from collections.abc import Collection

import numpy as np

from common.forecast.conformal import Calibration, Outcomes
from common.prices.panel import Panel
from common.prices.series import series_of_universe
from common.prices.window_blocks import WindowBlocks
from common.prices.windows import Windows, make_windows
from common.release.models import ModelFolder
from common.release.released_models import ReleasedModels


def windows_until(panel: Panel, models: ModelFolder, end: np.datetime64) -> Windows:
    """Return every stock's windows up to ``end`` whose last close was known on the cutoff day."""
    windows = make_windows(series_of_universe(panel, models.universe), models.window)
    return windows.take(windows.cutoff <= end)


def window_blocks(
    panel: Panel, models: ModelFolder, end: np.datetime64, symbols: Collection[str] | None = None
) -> WindowBlocks:
    """Return the windows of `windows_until`, of all stocks or of ``symbols``, by blocks of symbols."""
    listed = (symbol for symbol in models.universe.symbols if symbols is None or symbol in symbols)
    present = tuple(symbol for symbol in listed if symbol in panel.spans)
    return WindowBlocks(panel, present, models.window, end)


def unlearned(windows: Windows, calibration: Calibration) -> np.ndarray:
    """Mark the windows with an outcome after the calibration's last date; bool, shape (N,).

    Nothing is marked without a last date: the caller decides where learning begins.
    """
    if not len(calibration.dates):
        return np.zeros(len(windows), dtype=bool)
    return np.asarray((windows.target_date > calibration.dates[-1]).any(axis=1))


def learn_outcomes(models: ReleasedModels, panel: Panel) -> Calibration:
    """Extend a release's calibration by the new outcomes in ``panel``, as a backtest does.

    The forecasts are those of ``models``, by default the served networks. Each outcome counts on the evening
    on which its close became known, so the levels of an evening depend on nothing later. The levels of
    evenings that the release has already learned from do not change.
    """
    last = panel.dates[-1].to_datetime64().astype("datetime64[D]")
    windows = windows_until(panel, models.models, last)
    calibration = models.calibration
    later = windows.cutoff >= np.datetime64(models.seen_until)
    chosen = unlearned(windows, calibration) if len(calibration.dates) else later
    windows = windows.take(chosen)
    needed = models.models.prices(windows, models.models.outputs(windows)).needed
    return calibration.extended(Outcomes.of(windows, needed, calibration.groups.of(windows)))
