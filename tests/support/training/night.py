"""Nights without a fleet: an archive that grows, and runs whose every task is done before they begin."""

import re
import shutil
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from common.archive.text_files import split
from common.exchange.universe import Universe
from common.network.build import build_network
from common.prices.panel import Panel
from common.release.posted_prices import read_posted
from common.release.posted_sessions import SOURCE
from common.release.refresh_production import refresh_production
from common.release.refreshed import Refreshed
from common.synthetic.market import MarketConfig, write_market
from support.once import once
from support.prices.panel import SPEC
from support.releases.release import SETTINGS, _pretend_trained, _shift, _trust
from train.nightly.nightly import retrain
from train.nightly.nightly_record import NightlyRecord
from train.nightly.steps import Request, Steps
from train.pipeline.training import Run
from train.run.dataset import RunDataset, bundles_dir
from train.run.price_source import load_panel

UNIVERSE = Universe.from_symbols(["ABSA", "ARM", "COOP", "EABL"], specific=["ABSA"])
OVERRIDES = {**SETTINGS, "window": SPEC.model_dump()}
FIRST_END, LATER_END = date(2022, 9, 30), date(2022, 12, 30)


MARKET = MarketConfig(symbols=8, first_day="2021-01-04", last_day=LATER_END)


def write_archive(folder: Path, until: date) -> Path:
    """The first sessions of one and the same market, up to ``until``; replaces what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(_market(), folder)
    for path in folder.glob("NSE_data_all_stocks_*.csv"):
        header, *lines = path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if _day(line, path) <= until]
        path.write_text("".join([header, *kept]))
    return folder


def _market() -> Path:
    """All sessions of the market; not to be changed."""
    return once(f"market of nights {MARKET}", partial(write_market, config=MARKET))


def _day(line: str, path: Path) -> date:
    """The date of a row, in its file's year whatever was typed; blank rows count as old."""
    text = line.split(",")[0]
    year = int(re.search(r"\d{4}", path.name)[0])
    if not text:
        return date(year, 1, 1)
    return datetime.strptime(text.rsplit("-", 1)[0] + f"-{year}", "%d-%b-%Y").date()


def post(home: Path, day: date) -> Refreshed:
    """Post the market's rows of a day, as `POST /api/v4/prices` does."""
    names = {"symbol": 1, "low": 5, "high": 6, "close": 7, "previous": 8, "volume": 11}
    (path,) = _market().glob(f"NSE_data_all_stocks_{day.year}.csv")
    lines = [line for line in path.read_text().splitlines()[1:] if line.split(",")[0]]
    fields = [split(line) for line in lines if _day(line, path) == day]
    rows = [{name: row[place] for name, place in names.items()} | {"date": f"{day}"} for row in fields]
    evidence = {"source": SOURCE}
    return refresh_production(home, lambda before: read_posted(rows, before), evidence=evidence)[0]


def retrain_request(archive: Path, **changes: Any) -> Request:
    """A retraining with small settings and without a refit."""
    usual = {"overrides": OVERRIDES, "universe": UNIVERSE, "mode": "silent", "refit": False}
    return Request(archive=archive, **(usual | changes))


def trained_ahead(
    request: Request,
    home: Path,
    production: str | None,
    *,
    shift: float = 0.0,
    panel: Panel | None = None,
) -> Run:
    """Finish every task of the requested run with untrained networks, which forecast "no change".

    ``shift`` moves their forecasts, as for `support.releases.release.made_run`; ``panel``: by default that of
    the archive.
    """
    record = NightlyRecord.new(home, archive=request.archive, production=production)
    panel = panel or load_panel(request.archive, home)
    run = Steps(request, home, record).plan(panel)
    made = once(f"night {run.id} {shift}", lambda folder: _fresh(replace(run, folder=folder), panel, shift))
    shutil.copytree(made, run.folder)
    return run


def _fresh(run: Run, panel: Panel, shift: float) -> None:
    dataset = RunDataset(run.folder, run.spec, panel)
    weights = build_network(dataset.network_shape, run.spec.config.network, seed=0).get_weights()
    _pretend_trained(dataset, run.plan, weights)
    for path in bundles_dir(run.folder).rglob("model.onnx") if shift else ():
        _shift(path, shift)
        _trust(path.with_name("metadata.json"))


def after_the_first_night(folder: Path) -> tuple[Path, Path]:
    """A storage root with a release in production, and its archive up to ``FIRST_END``."""
    shutil.copytree(first_night(), folder, dirs_exist_ok=True)
    return folder / "home", folder / "archive"


def first_night() -> Path:
    """The same, to be copied."""
    return once("first night", _first_night)


def _first_night(folder: Path) -> None:
    request = retrain_request(write_archive(folder / "archive", FIRST_END))
    trained_ahead(request, folder / "home", None)
    retrain(request, folder / "home")
