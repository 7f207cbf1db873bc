"""Checks of a release's contents: files, scalers, stock ids, metadata, test errors, models that load."""

import csv
import datetime as dt
import math
from collections.abc import Iterator
from typing import Any, TypeGuard

import numpy as np

from common.forecast.log_price import LogPrice
from common.forecast.representation import Residual
from common.prices.series import series_from_panel
from common.prices.windows import last_window
from common.release.bundle import GENERAL, BundleFiles
from common.release.subject import Finding, Subject, error_text, finding, listed
from train.gate import skill

TOP_FILES = (
    *("panel.parquet", "universe.json", "config.json", "calibration.json"),
    *("test_forecasts.parquet", "performance_matrix.csv"),
)
LIMIT = 15.0
"""Test MAPE above which no release goes to production, percent."""
TARGET = 12.0
"""The upper end of the target of 8 to 12 percent; a lower value passes too."""


def files(subject: Subject) -> Finding:
    """Check that all required files are there, as published."""
    release = subject.release
    release.check()
    needed = list(TOP_FILES)
    for job in subject.jobs:
        names = BundleFiles.of(release.info["preset"], job)
        needed += [f"{subject.folder(job)}/{name}" for name in (names.weights, "model.onnx", "metadata.json")]
        needed += [f"{subject.folder(job)}/{names.scaler}{suffix}" for suffix in (".json", ".joblib")]
    needed.append(f"{subject.folder(GENERAL)}/stock_id_mapping.json")
    megabytes = sum(entry["bytes"] for entry in release.files.values()) / 1e6
    missing = [f"no {name}" for name in needed if name not in release.files]
    return finding(
        missing or _unreadable(subject), f"{len(release.files)} files, {megabytes:.1f} MB, as published"
    )


def scalers(subject: Subject) -> Finding:
    """Check that every model has scalers of the configured kind, and one per stock where they differ."""
    kind, stocks = subject.json("config.json")["representation"], len(subject.closes)
    problems, covered = [], 0
    for job in subject.jobs:
        name = f"{subject.folder(job)}/{BundleFiles.of(subject.release.info['preset'], job).scaler}.json"
        stored = subject.json(name)
        if stored["representation"] != kind:
            problems.append(f"{name}: {stored['representation']}, need {kind}")
        elif kind == LogPrice.name:
            needed = _priced_in_training(subject) if job == GENERAL else [job]
            usable = [symbol for symbol in needed if _is_range(stored["scalers"].get(symbol))]
            problems += [f"{name}: none for {symbol}" for symbol in needed if symbol not in usable]
            covered = len(usable) if job == GENERAL else covered
        elif not _is_standard(stored["mean"], stored["spread"]):
            problems.append(f"{name}: not {len(Residual.channels)} finite means and positive spreads")
        else:
            covered = stocks
    return finding(problems, f"{len(subject.jobs)} models, {covered} of {stocks} stocks")


def stock_ids(subject: Subject) -> Finding:
    """Check that the general model's mapping, the bundles and the universe use the same stock ids."""
    universe = subject.models.universe
    name = f"{subject.folder(GENERAL)}/stock_id_mapping.json"
    mapping = subject.json(name)
    problems = [f"{name}: is empty"] if not mapping else []
    for symbol, number in mapping.items():
        if symbol not in universe.symbols:
            problems.append(f"{name}: {symbol} is not in universe.json")
        elif number != universe.stock_id(symbol):
            problems.append(f"{name}: {symbol} is {number}, universe.json says {universe.stock_id(symbol)}")
    for job in subject.jobs:
        used = subject.json(f"{subject.folder(job)}/metadata.json")["stock_ids"]
        allowed = [mapping] if job == GENERAL else [{}, {job: universe.stock_id(job)}]
        if used not in allowed:
            problems.append(f"{subject.folder(job)}/metadata.json: wrong stock_ids, {listed(map(str, used))}")
    return finding(problems, f"{len(mapping)} stocks, {len(universe.symbols) - len(mapping)} unknown (id 0)")


def recorded(subject: Subject) -> Finding:
    """Check that the manifest and the metadata of every tested model contain the test MAPE."""
    problems = []
    if not _is_number(subject.release.info.get("test_MAPE")):
        problems.append(f"manifest.json: test_MAPE is {subject.release.info.get('test_MAPE')}")
    tested = set(subject.near["symbol"])
    for job in subject.jobs:
        got = subject.json(f"{subject.folder(job)}/metadata.json").get("test_mape")
        if not _is_number(got) and (job == GENERAL or job in tested):
            problems.append(f"{subject.folder(job)}/metadata.json: test_mape is {got}")
    return finding(problems, f"the manifest and {len(subject.jobs)} models")


def below_limit(subject: Subject) -> Finding:
    """Check that the test MAPE of the published forecasts equals the manifest's and is below the limit."""
    got, recorded = test_mape(subject), subject.release.info.get("test_MAPE")
    text = f"{got:.3f} % of {len(subject.near)} forecasts"
    if not (_is_number(recorded) and math.isclose(got, recorded, rel_tol=1e-9)):
        return False, f"{text}, but manifest.json says {recorded}"
    return got < LIMIT, text


def within_target(subject: Subject) -> Finding:
    got = test_mape(subject)
    return got <= TARGET, f"{got:.3f} %"


def price_skill(subject: Subject) -> Finding:
    """Check that prices up to five days ahead are no worse than the last price by more than noise."""
    problems, figures = skill.of_price(subject.table, quick=bool(subject.release.info.get("quick")))
    return finding(problems, figures)


def interval_skill(subject: Subject) -> Finding:
    """Check coverage and pinball loss of the intervals at every horizon."""
    problems, figures = skill.of_intervals(subject.table)
    return finding(problems, figures)


def loading(subject: Subject) -> Finding:
    """Check that every model loads and returns finite prices for a window."""
    return finding(_failing_models(subject), f"{len(subject.jobs)} of {len(subject.jobs)}")


def test_mape(subject: Subject) -> float:
    """Return the MAPE of the published price, in percent of the actual price; NaN without a forecast."""
    published, actual = (subject.near[name].to_numpy(float) for name in ("published", "actual"))
    return float((100 * np.abs(published - actual) / actual).mean()) if len(actual) else math.nan


def _unreadable(subject: Subject) -> list[str]:
    """Return the problems of the parts that only a server reads."""
    problems, info = [], subject.release.info
    for name in ("train_end", "valid_end"):
        try:
            dt.date.fromisoformat(info[name])
        except (KeyError, TypeError, ValueError):
            problems.append(f"manifest.json: {name} is {info.get(name)!r:.80}, not a date")
    path = subject.release.file("performance_matrix.csv")
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            symbols = {row["symbol"] for row in csv.DictReader(stream)}
    except (KeyError, ValueError, csv.Error) as error:
        return [*problems, f"{path.name}: {error_text(error)}"]
    missing = [symbol for symbol in subject.models.universe.symbols if symbol not in symbols]
    return problems + ([f"{path.name}: no row of {listed(missing)}"] if missing else [])


def _failing_models(subject: Subject) -> Iterator[str]:
    window = subject.models.models.window
    any_stock = next((symbol for symbol, closes in subject.closes.items() if closes >= window.size), GENERAL)
    for job in subject.jobs:
        symbol = any_stock if job == GENERAL else job
        try:
            windows = last_window(series_from_panel(subject.models.panel, (symbol,)), window)
            prices = subject.models.bundle(job).forecaster.forecast(windows)
            if not (np.isfinite(prices.raw) & np.isfinite(prices.published)).all():
                yield f"{job}: a price is not a finite number"
        except Exception as error:
            yield f"{job}: {error_text(error)}"


def _priced_in_training(subject: Subject) -> list[str]:
    """Return the stocks with a close in the training part, without which no scaler can be fitted."""
    series, train_end = subject.series, np.datetime64(subject.release.info["train_end"])
    return [symbol for symbol in series.symbols if (series.dates[series.rows(symbol)] <= train_end).any()]


def _is_range(bounds: dict[str, float] | None) -> bool:
    if bounds is None or not all(_is_number(bounds.get(name)) for name in ("low", "high")):
        return False
    return bounds["low"] <= bounds["high"]


def _is_standard(mean: list[float], spread: list[float]) -> bool:
    complete = len(mean) == len(spread) == len(Residual.channels)
    return complete and all(map(_is_number, [*mean, *spread])) and min(spread) > 0


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)
