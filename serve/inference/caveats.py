"""Caveats of a forecast that do not depend on the model's output."""

import datetime as dt

import numpy as np

from common.exchange.calendar import Sessions
from common.forecast.confidence import STALE_SESSIONS
from common.presets import SPECIFIC
from common.prices.windows import Windows
from serve.inference.routing import Route
from serve.inference.window_builder import PriceHistory
from serve.schemas.forecast import Caveat, PredictRequest

FALLBACK = Caveat(
    code="fallback", message="The stock's own model cannot be loaded; the general model is used."
)


def sessions_behind(request: PredictRequest, windows: Windows, sessions: Sessions) -> int:
    """Count the market's sessions from the last price to ``as_of``, by default to the end of the data."""
    end = np.datetime64(request.as_of) if request.as_of else sessions.last
    return sessions.between(windows.cutoff[0], end)


def cautions(
    request: PredictRequest,
    chosen: Route,
    windows: Windows,
    history: PriceHistory,
    *,
    own: frozenset[str],
    seen_until: dt.date,
    behind: int,
    due: dt.date,
) -> tuple[Caveat, ...]:
    """Return the caveats of a request.

    Parameters
    ----------
    own, seen_until : as in `LoadedRelease`
    behind : as `sessions_behind` returns it
    due : the last day whose closes should be available
    """
    last_date, end = windows.cutoff[0].item(), history.sessions.last
    caveats: list[Caveat] = []

    def add(code: str, message: str) -> None:
        caveats.append(Caveat(code=code, message=message))

    if history.panel.synthetic:
        add("synthetic", f"The market is invented ({history.panel.source}): no price is real.")
    if request.has_prices:
        bars = request.recent_bars
        if bars:
            add("market_unknown", "Bars do not include the market's movement, which counts as unknown.")
        else:
            add("closes_only", "Closes do not include range, volume and market, which count as unknown.")
        if not (bars and bars[-1].date):
            assumed = f"The prices are assumed to end on {last_date}."
            add("dates_assumed", f"{assumed} Send as_of, or bars with dates.")
        got, size = len(bars or request.recent_prices or []), history.spec.size
        if got > size:
            add("clipped", f"The newest {size} of {got} prices are used.")
    else:
        old = history.sessions.between(end, np.datetime64(due))
        if old and not request.as_of:
            closed = "1 session has" if old == 1 else f"{old} sessions have"
            add("old_data", f"The release's prices end on {end}; {closed} closed since then.")
        if not windows.series.true[-1]:
            add("copied_day", f"The close of {last_date} is unknown; the close before it is used.")
    if behind >= STALE_SESSIONS:
        add("stale", f"The last price is of {last_date}, {behind} sessions ago.")
    if last_date < seen_until:
        later = f"The models were fitted or chosen on prices after {last_date}"
        add("in_sample", f"{later}: this forecast is no measure of skill.")
    if chosen.former:
        add("renamed", f"{chosen.former} is a former symbol: the share is {chosen.symbol} today.")
    if chosen.stock is None:
        add("unknown_symbol", "Not a symbol of this release: the forecast uses only the prices sent.")
    elif chosen.stock.tier == "specific" and chosen.model_type != SPECIFIC:
        if chosen.symbol in own:
            caveats.append(FALLBACK)
        else:
            add("no_own_model", "This release has no model of this stock; the general model is used.")
    return tuple(caveats)
