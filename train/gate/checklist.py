"""The checklist that a release must pass before it goes to production."""

import datetime as dt
import math
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from common.prices.series import series_from_panel
from common.prices.windows import last_window
from common.release import sanity
from common.release.bundle import GENERAL, BundleFiles
from common.release.manifest import Release
from common.release.subject import Check, Finding, Subject, error_text, finding, run_check
from train.gate import skill

TOP_FILES = (
    *("panel.parquet", "universe.json", "config.json", "calibration.json"),
    *("test_forecasts.parquet", "performance_matrix.csv"),
)
TARGET = 12.0
"""The upper end of the target of 8 to 12 percent for the test MAPE; a lower value passes too."""


def files(subject: Subject) -> Finding:
    """Check that all required files are there, as published, and that a server can read them."""
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


def _unreadable(subject: Subject) -> Iterator[str]:
    """Yield the problems of what only a server reads: dates of the manifest, rows of the matrix."""
    info, path = subject.release.info, subject.release.file("performance_matrix.csv")
    for name in ("train_end", "valid_end"):
        try:
            dt.date.fromisoformat(info[name])
        except (KeyError, TypeError, ValueError):
            yield f"manifest.json: {name} is {info.get(name)!r:.80}, not a date"
    rows = set(pd.read_csv(path, usecols=["symbol"], dtype=str, keep_default_na=False)["symbol"])
    for symbol in subject.models.universe.symbols:
        if symbol not in rows:
            yield f"{path.name}: no row of {symbol}"


def models(subject: Subject) -> Finding:
    """Check that every model loads and returns prices, and that all use the universe's stock ids."""
    problems = [*failing_models(subject)]
    ids = {stock.symbol: stock.stock_id for stock in subject.models.universe.stocks}
    mapping = subject.json(f"{subject.folder(GENERAL)}/stock_id_mapping.json")
    for job in subject.jobs:
        name = f"{subject.folder(job)}/metadata.json"
        used = subject.json(name)["stock_ids"]
        complete = used == mapping != {} if job == GENERAL else used.keys() <= {job}
        if not complete or any(ids.get(symbol) != number for symbol, number in used.items()):
            problems.append(f"{name}: stock_ids differ from universe.json or stock_id_mapping.json")
    return finding(problems, f"{len(subject.jobs)} of {len(subject.jobs)}, {len(mapping)} stock ids")


def failing_models(subject: Subject) -> Iterator[str]:
    """Yield the error of each model that does not load, or returns prices that are not finite."""
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


def mape(subject: Subject) -> Finding:
    """Check the MAPE of moving stocks at the shortest horizon, published, in percent of the actual price."""
    table = subject.table[np.isfinite(subject.table["actual"]) & ~subject.table["frozen"].astype(bool)]
    near = table[table["horizon"] == subject.table["horizon"].min()]
    published, actual = (near[name].to_numpy(float) for name in ("published", "actual"))
    got = float((100 * np.abs(published - actual) / actual).mean()) if len(actual) else math.nan
    recorded, text = subject.release.info.get("test_MAPE"), f"{got:.3f} % of {len(actual)} forecasts"
    if not (isinstance(recorded, int | float) and math.isclose(got, recorded, rel_tol=1e-9)):
        return False, f"{text}, but manifest.json says {recorded}"
    return got <= TARGET, text


def price_skill(subject: Subject) -> Finding:
    """Check that prices up to five days ahead are no worse than the last price by more than noise."""
    return finding(*skill.of_price(subject.table, quick=bool(subject.release.info.get("quick"))))


def interval_skill(subject: Subject) -> Finding:
    """Check coverage and pinball loss of the intervals at every horizon."""
    return finding(*skill.of_intervals(subject.table))


CHECKS: tuple[tuple[str, str, Callable[[Subject], Finding]], ...] = (
    ("files", "every file of a release, as published (sha256)", files),
    ("models", "every model loads with the universe's stock ids and returns a forecast", models),
    ("test MAPE", f"at most {TARGET:.0f} %, as the manifest says", mape),
    ("skill", f"no worse than the last price up to {skill.FLOOR_DAYS} days ahead", price_skill),
    ("skill of intervals", "coverage, and pinball loss below the last price's", interval_skill),
    *sanity.CHECKS,
)
"""Name, requirement and function of each check, in order."""


def run_checklist(release: Release) -> list[Check]:
    """Run every check on a release, in the order of ``CHECKS``.

    A check that raises fails, with the error as its finding. If the files are not as published, the other
    checks fail without being run. ``release`` need not have been verified.
    """
    subject = Subject(release)
    checks: list[Check] = []
    for name, needed, check in CHECKS:
        if checks and not checks[0].passed:
            found = "not checked: the release's files are damaged or incomplete"
            checks.append(Check(name, False, found, needed))
        else:
            checks.append(run_check(subject, name, needed, check))
    return checks
