"""A release's forecasts without a server: as the server's responses, and as data frames for notebooks."""

import datetime as dt
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pandas as pd
import pydantic

from common import storage
from common.errors import BadRequest, BundleError, NsecastError
from common.release.bundle import GENERAL, load_bundle
from common.release.manifest import Release
from common.release.registry import Registry
from serve.inference.loaded_release import LoadedRelease
from serve.inference.model_cache import ModelCache, split_key
from serve.inference.response import batch_response, predict_response
from serve.schemas.forecast import BatchResponse, Horizon, PredictRequest, PredictResponse
from serve.schemas.market import HistoryDay
from serve.schemas.problems import problem_of
from serve.views import models as pages

SHOWN = (
    *("symbol", "name", "horizon", "last_date", "last_price", "target_date", "prediction", "mean_prediction"),
    *("change_percent", "expected_change_percent"),
    *("probability_up", "probability_unchanged", "probability_down"),
    *("confidence", "model_type", "forecast_source", "mape", "naive_mape", "release"),
)


class Forecaster:
    """A verified release and its own prices; models are loaded at first use and cached."""

    def __init__(self, release: Release) -> None:
        self.loaded = LoadedRelease(release)
        self._models = ModelCache(
            lambda key: load_bundle(release.path, self.loaded.preset, split_key(key)[0]),
            len(self.loaded.own) + 1,
        )

    @classmethod
    def from_release(cls, reference: str = "production", home: str | Path | None = None) -> Self:
        """Open a release.

        Parameters
        ----------
        reference : ``production``, ``latest`` or a release id
        home : storage root; default ``$NSECAST_HOME``, else ``./nsecast-data``

        Raises
        ------
        ReleaseNotFound
            If there is none.
        BundleError
            If it is incomplete or altered.
        """
        return cls(Registry(storage.home(home)).open(reference))

    def __repr__(self) -> str:
        label = ", SYNTHETIC DATA" if self.loaded.panel.synthetic else ""
        return f"Forecaster({self.loaded.release.id}, data to {self.loaded.data_end}{label})"

    @property
    def horizons(self) -> list[Horizon]:
        """The release's horizons, nearest first."""
        return list(self.loaded.positions)

    def answer(
        self, symbols: Iterable[str], horizon: Horizon = "1d", *, as_of: dt.date | str | None = None
    ) -> BatchResponse:
        """Forecast as the server's batch route does; a symbol that fails is in ``summary.errors``."""
        started, request_id = time.perf_counter(), uuid4().hex
        answers, failures = self._forecast_all(symbols, horizon, as_of, request_id)
        return batch_response(self.loaded, answers, failures, started=started, request_id=request_id)

    def one(
        self,
        symbol: str,
        horizon: Horizon = "1d",
        *,
        recent_prices: Iterable[float] | None = None,
        as_of: dt.date | str | None = None,
        allow_unknown: bool = False,
        today: dt.date | None = None,
    ) -> PredictResponse:
        """Forecast one stock as the server does; raises the error that the server would report.

        Parameters
        ----------
        recent_prices : closes in KES, oldest first, instead of the release's own
        allow_unknown : accept an unknown symbol, and forecast from ``recent_prices``
        today : as in `LoadedRelease.prepare`
        """
        started = time.perf_counter()
        body: dict[str, Any] = {"symbol": symbol.strip(), "horizon": horizon, "as_of": as_of}
        body["allow_unknown"] = allow_unknown
        if recent_prices is not None:
            body["recent_prices"] = [float(price) for price in recent_prices]
        try:
            request = PredictRequest.model_validate(body)
        except pydantic.ValidationError as error:
            raise _as_nsecast_error(error) from None
        return self._forecast(request, started, uuid4().hex, today)

    def predict(
        self,
        symbols: str | Iterable[str] | None = None,
        horizons: str | Iterable[str] | None = None,
        *,
        as_of: dt.date | str | None = None,
    ) -> pd.DataFrame:
        """Forecast in KES, with a row for each symbol and horizon.

        Parameters
        ----------
        symbols : default: every stock that can be forecast; ``attrs["failed"]`` has the errors of the others
        horizons : such as ``"5d"``; default: all of the release
        as_of : forecast from what was known on the evening of that day

        Returns
        -------
        DataFrame
            Fields of `PredictResponse`, the bounds of the intervals as ``lower90``, ``upper90`` and so on
            (NaN where the model has none), and the codes of the warnings; ``attrs["synthetic"]``.

        Raises
        ------
        UnknownSymbol, InsufficientHistory, BadRequest
            If a named symbol, or a horizon, cannot be forecast.
        """
        chosen = _as_list(symbols, self.loaded.universe.symbols)
        rows: list[dict[str, Any]] = []
        failed: dict[str, str] = {}
        for horizon in _as_list(horizons, self.horizons):
            answers, failures = self._forecast_all(chosen, horizon, as_of, "notebook")
            if failures and (symbols is not None or not answers):
                raise _as_nsecast_error(next(iter(failures.values())))
            rows += [_row(response) for response in answers]
            failed |= {symbol: problem_of(error).detail for symbol, error in failures.items()}
        order = {row["symbol"]: number for number, row in reversed(list(enumerate(rows)))}
        frame = pd.DataFrame(sorted(rows, key=lambda row: order[row["symbol"]]))
        for name in ("last_date", "target_date"):
            frame[name] = pd.to_datetime(frame[name])
        frame.attrs |= {"synthetic": self.loaded.panel.synthetic, "failed": failed}
        return frame

    def history(self, symbol: str, *, days: int = 250) -> pd.DataFrame:
        """Return a stock's newest sessions: ``close, low, high`` (KES), ``volume`` (shares), ``flags``.

        Raises UnknownSymbol for an unknown symbol.
        """
        prices = pages.history_page(self.loaded, symbol.upper(), horizon=self.horizons[0], days=days).prices
        frame = pd.DataFrame([day.model_dump() for day in prices], columns=list(HistoryDay.model_fields))
        frame = frame.assign(date=pd.to_datetime(frame["date"]), flags=frame["flags"].map(", ".join))
        return frame.astype(dict.fromkeys(("close", "low", "high", "volume"), float)).set_index("date")

    def backtest_table(self) -> pd.DataFrame:
        """Return every forecast of the test part with the actual price, as published with the release.

        A row for each symbol, cutoff and horizon (trading days): ``last_price``, ``published``, ``raw``,
        ``actual``, the bounds of the intervals (KES) and the other columns of ``test_forecasts.parquet``.
        """
        return pd.read_parquet(self.loaded.release.file("test_forecasts.parquet"))

    def matrix(self) -> pd.DataFrame:
        """Errors beside those of the last price, a row for each symbol and horizon: see `HorizonErrors`."""
        return pd.DataFrame(
            {"symbol": row.symbol, "name": row.name, "sector": row.sector, "horizon": horizon}
            | measured.model_dump()
            for row in self.loaded.matrix.values()
            for horizon, measured in row.horizons.items()
        )

    def _forecast_all(
        self,
        symbols: Iterable[str],
        horizon: str,
        as_of: dt.date | str | None,
        request_id: str,
    ) -> tuple[list[PredictResponse], dict[str, Exception]]:
        """Return the responses, and the errors by symbol."""
        responses: list[PredictResponse] = []
        failures: dict[str, Exception] = {}
        for symbol in dict.fromkeys(name.strip().upper() for name in symbols):
            started = time.perf_counter()
            try:
                request = PredictRequest.model_validate(
                    {"symbol": symbol, "horizon": horizon, "as_of": as_of}
                )
                responses.append(self._forecast(request, started, request_id))
            except (pydantic.ValidationError, NsecastError) as error:
                failures[symbol] = error
        return responses, failures

    def _forecast(
        self, request: PredictRequest, started: float, request_id: str, today: dt.date | None = None
    ) -> PredictResponse:
        prepared = self.loaded.prepare(request, self._models.bad(), today=today)
        try:
            bundle, cached = self._models.get(prepared.key)
        except BundleError:
            if prepared.route.job == GENERAL:
                raise
            prepared = self.loaded.general(prepared)
            bundle, cached = self._models.get(prepared.key)
        prices = bundle.forecaster.forecast(prepared.windows, prepared.levels)
        return predict_response(
            self.loaded, prepared, prices, cached=cached, started=started, request_id=request_id
        )


def _as_list(given: str | Iterable[str] | None, default: Iterable[str]) -> list[str]:
    return list(default) if given is None else [given] if isinstance(given, str) else list(given)


def _as_nsecast_error(error: Exception) -> NsecastError:
    """Convert a validation error to BadRequest."""
    return error if isinstance(error, NsecastError) else BadRequest(problem_of(error).detail)


def _row(answer: PredictResponse) -> dict[str, Any]:
    bounds = {
        f"{side}{level}": getattr(interval, side) if interval else float("nan")
        for level in ("80", "90", "95")
        for interval in (answer.intervals.get(level),)
        for side in ("lower", "upper")
    }
    shown = {name: getattr(answer, name) for name in SHOWN}
    return shown | bounds | {"warnings": ", ".join(caveat.code for caveat in answer.warnings)}
