"""What a reader of a forecast should know, whatever the model says."""

import datetime as dt
from typing import Protocol

import numpy as np

from common.exchange.calendar import Sessions
from common.forecast.confidence import STALE_SESSIONS
from common.presets import SPECIFIC, WindowSpec
from common.prices.panel import Panel
from common.prices.windows import Windows
from serve.inference.routing import Route
from serve.inference.window_builder import PriceHistory
from serve.schemas.forecast import Caveat, PredictRequest


class KnownRelease(Protocol):
    """What caveats depend on of a loaded release."""

    panel: Panel
    past: PriceHistory
    spec: WindowSpec
    seen_until: dt.date
    own: frozenset[str]

    @property
    def data_end(self) -> dt.date: ...


def sessions_behind(request: PredictRequest, windows: Windows, sessions: Sessions) -> int:
    """Sessions of the market from the last price to ``as_of``, by default to the end of the data."""
    end = np.datetime64(request.as_of) if request.as_of else sessions.last
    return sessions.between(windows.cutoff[0], end)


def cautions(
    release: KnownRelease, request: PredictRequest, chosen: Route, windows: Windows, behind: int, due: dt.date
) -> tuple[Caveat, ...]:
    """What to know whatever the model says; ``due``: the last day whose closes can be known."""
    last_date, end, found = windows.cutoff[0].item(), release.data_end, []
    if release.panel.synthetic:
        found.append(("synthetic", f"The market is invented ({release.panel.source}): no real price."))
    if request.brings_prices:
        found += _of_the_prices(request, last_date, release.spec.size)
    else:
        if not request.as_of and (
            old := release.past.sessions.between(np.datetime64(end), np.datetime64(due))
        ):
            closed = "1 session has" if old == 1 else f"{old} sessions have"
            found.append(("old_data", f"The release's prices end on {end}; {closed} closed since then."))
        if not windows.series.true[-1]:
            found.append(("copied_day", f"The close of {last_date} was not known; the one before stands in."))
    if behind >= STALE_SESSIONS:
        found.append(("stale", f"The last price is of {last_date}, {behind} sessions ago."))
    if last_date < release.seen_until:
        found.append(
            (
                "in_sample",
                f"The models were fitted or chosen on what came after {last_date}: no measure of skill.",
            )
        )
    if chosen.stock is None:
        found.append(("unknown_symbol", "No counter of this release: forecast from the prices sent alone."))
    elif chosen.stock.tier == "specific" and chosen.model_type != SPECIFIC:
        if chosen.symbol in release.own:
            found.append(("fallback", "The stock's own model cannot be loaded; the general one answers."))
        else:
            found.append(
                ("no_own_model", "This release has no model of the stock's own; the general one answers.")
            )
    return tuple(Caveat(code=code, message=message) for code, message in found)


def _of_the_prices(request: PredictRequest, last_date: dt.date, size: int) -> list[tuple[str, str]]:
    bars = request.recent_bars
    got = len(bars or request.recent_prices or [])
    found = []
    if bars:
        found.append(("market_unknown", "What the market did is not known to bars and counts as unknown."))
    else:
        found.append(
            ("closes_only", "Range, volume and market are not known to closes and count as unknown.")
        )
    if not (bars and bars[-1].date):
        found.append(
            ("dates_assumed", f"The prices are taken to end on {last_date}. Send as_of, or bars with dates.")
        )
    if got > size:
        found.append(("clipped", f"The newest {size} of {got} prices are used."))
    return found
