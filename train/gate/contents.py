"""Checks of what a release holds: files, scalers, stock ids, metadata, test errors, models that load."""

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
from train.gate import skill
from train.gate.subject import Finding, Subject, finding, listed, told

TOP_FILES = (
    *("panel.parquet", "universe.json", "config.json", "calibration.json"),
    *("test_forecasts.parquet", "performance_matrix.csv"),
)
LIMIT = 15.0
"""Test MAPE above which no release goes to production, percent."""
TARGET = 12.0
"""The upper end of the target of 8 to 12 percent; lower is better still."""
SAME = 1e-9
"""Relative difference of two figures that are the same one."""


def files(subject: Subject) -> Finding:
    """The manifest's files as published, and everything a release consists of among them."""
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
    """A scaler for every model, of the configured kind; one for every counter where each has its own."""
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
    return finding(problems, f"{len(subject.jobs)} models, {covered} of {stocks} counters")


def stock_ids(subject: Subject) -> Finding:
    """The mapping beside the general model, the ids the bundles use, and the universe's: all the same."""
    universe = subject.models.universe
    name = f"{subject.folder(GENERAL)}/stock_id_mapping.json"
    mapping = subject.json(name)
    problems = [f"{name}: got nothing"] if not mapping else []
    for symbol, number in mapping.items():
        if symbol not in universe.symbols:
            problems.append(f"{name}: {symbol} is no counter of universe.json")
        elif number != universe.stock_id(symbol):
            problems.append(f"{name}: {symbol} is {number}, universe.json says {universe.stock_id(symbol)}")
    for job in subject.jobs:
        used = subject.json(f"{subject.folder(job)}/metadata.json")["stock_ids"]
        allowed = [mapping] if job == GENERAL else [{}, {job: universe.stock_id(job)}]
        if used not in allowed:
            problems.append(f"{subject.folder(job)}/metadata.json: other stock_ids, {listed(map(str, used))}")
    return finding(problems, f"{len(mapping)} stocks, {len(universe.symbols) - len(mapping)} unknown (id 0)")


def recorded(subject: Subject) -> Finding:
    """The test MAPE in the manifest and in the metadata of every model that could be tested."""
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
    """Recomputed from the published forecasts, it is the manifest's figure and below the limit."""
    got, said = test_mape(subject), subject.release.info.get("test_MAPE")
    text = f"{got:.3f} % of {len(subject.near)} forecasts"
    if not (_is_number(said) and math.isclose(got, said, rel_tol=SAME)):
        return False, f"{text}, but manifest.json says {said}"
    return got < LIMIT, text


def within_target(subject: Subject) -> Finding:
    got = test_mape(subject)
    return got <= TARGET, f"{got:.3f} %"


def price_skill(subject: Subject) -> Finding:
    """No worse than the last price by more than noise, up to five days ahead."""
    problems, figures = skill.of_price(subject.table, quick=bool(subject.release.info.get("quick")))
    return finding(problems, figures)


def interval_skill(subject: Subject) -> Finding:
    """The intervals hold what they should and are worth more than the last price, at every horizon."""
    problems, figures = skill.of_intervals(subject.table)
    return finding(problems, figures)


def loading(subject: Subject) -> Finding:
    """Every model, the specific ones and the general one, answers for a window of its own."""
    return finding(_silent(subject), f"{len(subject.jobs)} of {len(subject.jobs)}")


def test_mape(subject: Subject) -> float:
    """Mean absolute error of the published price in percent of the actual one; NaN without a forecast."""
    published, actual = (subject.near[name].to_numpy(float) for name in ("published", "actual"))
    return float((100 * np.abs(published - actual) / actual).mean()) if len(actual) else math.nan


def _unreadable(subject: Subject) -> list[str]:
    """What a server reads of a release besides its models, and the other checks do not."""
    problems, info = [], subject.release.info
    for name in ("train_end", "valid_end"):
        try:
            dt.date.fromisoformat(info[name])
        except (KeyError, TypeError, ValueError):
            problems.append(f"manifest.json: {name} is {info.get(name)!r:.80}, no date")
    path = subject.release.file("performance_matrix.csv")
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            named = {row["symbol"] for row in csv.DictReader(stream)}
    except (KeyError, ValueError, csv.Error) as error:
        return [*problems, f"{path.name}: {told(error)}"]
    missing = [symbol for symbol in subject.models.universe.symbols if symbol not in named]
    return problems + ([f"{path.name}: no row of {listed(missing)}"] if missing else [])


def _silent(subject: Subject) -> Iterator[str]:
    """The models that do not load or give no price, with the reason."""
    size = subject.models.models.window.size
    anyone = next((symbol for symbol, closes in subject.closes.items() if closes >= size), GENERAL)
    for job in subject.jobs:
        symbol = anyone if job == GENERAL else job
        try:
            windows = last_window(
                series_from_panel(subject.models.panel, (symbol,)), subject.models.models.window
            )
            prices = subject.models.bundle(job).forecaster.forecast(windows)
            if not (np.isfinite(prices.raw) & np.isfinite(prices.published)).all():
                yield f"{job}: a price that is no number"
        except Exception as error:
            yield f"{job}: {told(error)}"


def _priced_in_training(subject: Subject) -> list[str]:
    """Counters with a close up to the end of training: a later one has nothing to fit a scaler on."""
    series, train_end = subject.series, np.datetime64(subject.release.info["train_end"])
    return [symbol for symbol in series.symbols if (series.dates[series.rows(symbol)] <= train_end).any()]


def _is_range(bounds: dict[str, float] | None) -> bool:
    if bounds is None or not all(_is_number(bounds.get(name)) for name in ("low", "high")):
        return False
    return bounds["low"] <= bounds["high"]


def _is_standard(mean: list[float], spread: list[float]) -> bool:
    right = len(mean) == len(spread) == len(Residual.channels)
    return right and all(map(_is_number, [*mean, *spread])) and min(spread) > 0


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)
