"""A release's forecasts without a server: as the server would answer, and as data frames for notebooks.

It lives beside `serve.inference.loaded_release`, because an answer is more than what a network says
(`common.forecast.forecaster`): the choice of the model, the caveats and the measured errors are made there,
once for all who ask.
"""

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
from serve.inference.response import answer, batch_answer
from serve.schemas.forecast import BatchResponse, Horizon, PredictRequest, PredictResponse
from serve.schemas.market import HistoryDay
from serve.schemas.problems import problem_of
from serve.views import models as pages

SHOWN = (
    *("symbol", "name", "horizon", "last_date", "last_price", "target_date", "prediction", "mean_prediction"),
    *("change_percent", "confidence", "model_type", "forecast_source", "mape", "naive_mape", "release"),
)


class Forecaster:
    """One verified release and its own prices; models are loaded when first needed and kept."""

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
            If it is half-written or altered.
        """
        return cls(Registry(storage.home(home)).open(reference))

    def __repr__(self) -> str:
        label = ", SYNTHETIC DATA" if self.loaded.panel.synthetic else ""
        return f"Forecaster({self.loaded.release.id}, data to {self.loaded.data_end}{label})"

    @property
    def horizons(self) -> list[Horizon]:
        """Those that can be asked for, nearest first."""
        return list(self.loaded.places)

    def answer(
        self, symbols: Iterable[str], horizon: Horizon = "1d", *, as_of: dt.date | str | None = None
    ) -> BatchResponse:
        """What the server would answer; a symbol that fails is in ``summary.errors``."""
        started, request_id = time.perf_counter(), uuid4().hex
        answers, failures = self._each(symbols, horizon, as_of, request_id)
        return batch_answer(self.loaded, answers, failures, started=started, request_id=request_id)

    def one(
        self,
        symbol: str,
        horizon: Horizon = "1d",
        *,
        as_of: dt.date | str | None = None,
        today: dt.date | None = None,
    ) -> PredictResponse:
        """What the server would answer for one stock; raises the error that stands in the way.

        Parameters
        ----------
        today : as in `LoadedRelease.prepare`
        """
        answers, failures = self._each([symbol], horizon, as_of, uuid4().hex, today)
        for error in failures.values():
            raise _ours(error)
        return answers[0]

    def predict(
        self,
        symbols: str | Iterable[str] | None = None,
        horizons: str | Iterable[str] | None = None,
        *,
        as_of: dt.date | str | None = None,
    ) -> pd.DataFrame:
        """Forecasts in KES, a row for each symbol and horizon.

        Parameters
        ----------
        symbols : default: every counter that can be forecast; ``attrs["failed"]`` says why others cannot
        horizons : such as ``"5d"``; default: all of the release
        as_of : forecast from what was known in the evening of that day

        Returns
        -------
        DataFrame
            Fields of `PredictResponse`, the bounds of the intervals as ``lower90``, ``upper90`` and so on
            (NaN where the model gives none), the codes of the warnings; ``attrs["synthetic"]``: invented.

        Raises
        ------
        UnknownSymbol, InsufficientHistory, BadRequest
            If a symbol that is named, or a horizon, cannot be answered.
        """
        chosen = _several(symbols, self.loaded.universe.symbols)
        rows: list[dict[str, Any]] = []
        failed: dict[str, str] = {}
        for horizon in _several(horizons, self.horizons):
            answers, failures = self._each(chosen, horizon, as_of, "notebook")
            if failures and (symbols is not None or not answers):
                raise _ours(next(iter(failures.values())))
            rows += [_row(each) for each in answers]
            failed |= {symbol: problem_of(error).detail for symbol, error in failures.items()}
        order = {symbol: place for place, symbol in enumerate(dict.fromkeys(row["symbol"] for row in rows))}
        frame = pd.DataFrame(sorted(rows, key=lambda row: order[row["symbol"]]))
        for name in ("last_date", "target_date"):
            frame[name] = pd.to_datetime(frame[name])
        frame.attrs |= {"synthetic": self.loaded.panel.synthetic, "failed": failed}
        return frame

    def history(self, symbol: str, *, days: int = 250) -> pd.DataFrame:
        """The newest sessions of a stock by date: ``close, low, high`` (KES), ``volume`` (shares), ``flags``.

        Raises UnknownSymbol if it is no counter.
        """
        found = pages.history_page(self.loaded, symbol.upper(), horizon=self.horizons[0], days=days).prices
        frame = pd.DataFrame([day.model_dump() for day in found], columns=list(HistoryDay.model_fields))
        frame = frame.assign(date=pd.to_datetime(frame["date"]), flags=frame["flags"].map(", ".join))
        return frame.astype(dict.fromkeys(("close", "low", "high", "volume"), float)).set_index("date")

    def backtest_table(self) -> pd.DataFrame:
        """Every forecast of the test part beside what happened, as published with the release.

        A row for each symbol, cutoff and horizon (trading days): ``last_price``, ``published``, ``raw``,
        ``actual``, the bounds of the intervals (KES) and what else ``test_forecasts.parquet`` holds.
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

    def _each(
        self,
        symbols: Iterable[str],
        horizon: str,
        as_of: dt.date | str | None,
        request_id: str,
        today: dt.date | None = None,
    ) -> tuple[list[PredictResponse], dict[str, Exception]]:
        """Answers, and by symbol why there is none."""
        found: list[PredictResponse] = []
        failures: dict[str, Exception] = {}
        for symbol in dict.fromkeys(each.strip().upper() for each in symbols):
            began = time.perf_counter()
            try:
                request = PredictRequest.model_validate(
                    {"symbol": symbol, "horizon": horizon, "as_of": as_of}
                )
                found.append(self._one(request, began, request_id, today))
            except (pydantic.ValidationError, NsecastError) as error:
                failures[symbol] = error
        return found, failures

    def _one(
        self, request: PredictRequest, started: float, request_id: str, today: dt.date | None
    ) -> PredictResponse:
        prepared = self.loaded.prepare(request, self._models.bad(), today=today)
        try:
            bundle, cached = self._models.get(prepared.key)
        except BundleError:
            if prepared.route.job == GENERAL:
                raise
            prepared = self.loaded.general(prepared)
            bundle, cached = self._models.get(prepared.key)
        prices = bundle.forecaster.forecast(prepared.windows, prepared.asked)
        return answer(self.loaded, prepared, prices, cached=cached, started=started, request_id=request_id)


def _several(given: str | Iterable[str] | None, default: Iterable[str]) -> list[str]:
    return list(default) if given is None else [given] if isinstance(given, str) else list(given)


def _ours(error: Exception) -> NsecastError:
    """A request that does not fit its schema, as an error of ours."""
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
