"""Read the served forecasts, and join them with the realised closes by the rules of the backtest."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from common.exchange.clock import ExchangeClock
from common.exchange.universe import Universe
from common.presets import WindowSpec
from common.prices.panel import Panel
from common.prices.series import series_of_universe, sessions_of
from common.prices.windows import Windows, make_windows
from serve.audit.files import SCHEMA, day_folders, read_day
from serve.audit.ledger import SERVED

REASONS = {
    "other_preset": "by a release of another preset",
    "not_asked_here": "of a stock or horizon that this release does not forecast",
    "unusable": "without a price, or served before its own cutoff",
    "cutoff_unknown": "from a cutoff without a price, or whose close was not known that evening",
    "other_price": "from a last price that differs from these prices",
    "asked_again": "repeats of an earlier forecast for the same evening",
    "no_close": "whose target's close is not known or lies beyond a split",
    "late": "served after the target's close was known",
}
"""Why a served forecast is excluded from all figures."""
ROW = ["symbol", "cutoff", "horizon"]
SAME = ["release", "symbol", "horizon", "cutoff", "model_type"]
"""Rows of the log that are equal in these columns are one forecast."""


def read_served(home: Path, *, since: dt.date | None = None) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return every distinct forecast served since a day, and the unreadable parts of the log.

    Returns
    -------
    DataFrame
        See `served_frame`.
    tuple of str
        Each unreadable part, with the reason.
    """
    tables: list[pa.Table] = []
    damaged: list[str] = []
    for day in day_folders(Path(home) / SERVED):
        if since is None or day.name >= since.isoformat():
            parts, broken = read_day(day)
            tables += [table for table, _ in parts.values()]
            damaged += [f"{path}: {reason}" for path, reason in broken.items()]
    return served_frame(tables), tuple(damaged)


def served_frame(tables: list[pa.Table]) -> pd.DataFrame:
    """Return each forecast of the log once, as first served, oldest first; days as datetime64."""
    table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    frame = table.sort_by("served_at").to_pandas(date_as_object=False).drop_duplicates(SAME)
    for name in ("cutoff", "target_date"):
        frame[name] = frame[name].astype("datetime64[s]")
    return frame.reset_index(drop=True)


@dataclass(frozen=True)
class Live:
    """Served forecasts, joined with the prices."""

    table: pd.DataFrame
    """Scored forecasts: columns of the log with the realised ``target_date`` and ``actual`` (KES), and
    ``tier``; one row per symbol, cutoff and horizon."""
    recent: pd.DataFrame
    """Scored and waiting forecasts."""
    waiting: int
    """Forecasts whose target has not been reached."""
    left_out: dict[str, int]
    """Count for each of ``REASONS``."""


def join_actuals(
    served: pd.DataFrame, panel: Panel, universe: Universe, spec: WindowSpec, *, preset: str
) -> Live:
    """Score served forecasts with the closes of a panel, as `make_windows` counts sessions.

    The target of a forecast is the stock's close ``horizon`` market sessions after the cutoff: a true close,
    without a split in between. A forecast waits until that session exists; if the stock has no close
    then, it is left out. It counts only if it was served before that close was known: before the exchange
    closed (`Universe.clock`) on the day in whose evening the close became known. Of several forecasts for one
    symbol, cutoff and horizon (two routers, a new release that evening), the first counts.

    Parameters
    ----------
    served : see `served_frame`
    panel : prices to score with
    """
    tiers = {stock.symbol: stock.tier for stock in universe.stocks}
    left_out, rows = dict.fromkeys(REASONS, 0), served

    def keep(valid: pd.Series | np.ndarray, reason: str) -> None:
        nonlocal rows
        left_out[reason] += int((~valid).sum())
        rows = rows[valid]

    keep(rows["preset"] == preset, "other_preset")
    keep(rows["symbol"].isin(tiers) & rows["horizon"].isin(spec.horizons), "not_asked_here")
    prices = rows[["last_price", "raw", "published"]].to_numpy(float)
    has_prices = (np.isfinite(prices) & (prices > 0)).all(axis=1)
    served_on = rows["served_at"].dt.tz_convert(universe.clock.zone).dt.tz_localize(None)
    keep(has_prices & (served_on >= rows["cutoff"]).to_numpy(bool), "unusable")

    first = rows["cutoff"].to_numpy().min() if len(rows) else np.datetime64("9999-12-31")
    outcomes = _outcomes(panel, universe, spec, first)
    rows = rows.drop(columns="target_date").merge(outcomes, on=ROW, how="left", validate="many_to_one")
    keep(rows["close"].notna(), "cutoff_unknown")
    keep(np.isclose(rows["close"], rows["last_price"], rtol=1e-9), "other_price")
    keep(~rows.duplicated(ROW), "asked_again")
    waits = rows["target_date"].isna()
    recent, waiting = rows, int(waits.sum())
    rows = rows[~waits]
    keep(rows["actual"].notna(), "no_close")
    keep((rows["served_at"] < _closing(rows["known"], universe.clock)).to_numpy(bool), "late")

    def with_tier(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(tier=table["symbol"].map(tiers)).reset_index(drop=True)

    return Live(with_tier(rows), with_tier(recent), waiting, left_out)


def _outcomes(panel: Panel, universe: Universe, spec: WindowSpec, first: np.datetime64) -> pd.DataFrame:
    """Return ``ROW``, ``close`` and the target's date, close and evening of the windows since ``first``."""
    series = series_of_universe(panel, universe)
    windows = make_windows(series, spec)
    windows = windows.take(windows.cutoff >= first)
    known = [panel.history(symbol)["known"].to_numpy() for symbol in series.symbols]
    evenings = np.concatenate([*known, np.empty(0, "datetime64[us]")])
    return _as_rows(windows, evenings, sessions_of(panel))


def _as_rows(windows: Windows, evenings: np.ndarray, sessions: np.ndarray) -> pd.DataFrame:
    horizons = windows.spec.horizons
    later = windows.series.session[windows.end].astype(np.int64)[:, None] + np.array(horizons)
    dates = np.append(sessions, np.datetime64("NaT", "D"))[np.minimum(later, len(sessions))]
    names = np.array(windows.series.symbols, dtype=object)
    known = np.where(
        windows.target >= 0, evenings[np.maximum(windows.target, 0)], np.datetime64("NaT")
    ).astype("datetime64[s]")
    return pd.DataFrame(
        {
            "symbol": np.repeat(names[windows.symbol], len(horizons)).astype(str),
            "cutoff": np.repeat(windows.cutoff.astype("datetime64[s]"), len(horizons)),
            "horizon": np.tile(np.array(horizons, dtype=np.int64), len(windows)),
            "close": np.repeat(windows.last_price, len(horizons)),
            "target_date": dates.astype("datetime64[s]").ravel(),
            "actual": windows.actual.ravel(),
            "known": known.ravel(),
        }
    )


def _closing(days: pd.Series, clock: ExchangeClock) -> pd.Series:
    """Return the instants at which the exchange closed; the earlier one if the clock shows a time twice."""
    after_midnight = pd.Timedelta(hours=clock.closes.hour, minutes=clock.closes.minute)
    first = np.ones(len(days), bool)
    return (days + after_midnight).dt.tz_localize(clock.zone, ambiguous=first, nonexistent="shift_forward")
