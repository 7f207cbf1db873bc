"""The report of a large universe: one page of bounded size, with the stocks traded most."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.training.evidence import bundle, made_evidence, made_large

from train.evaluation.questions import Answer, answers, turnover
from train.report import stock_data
from train.report.page import write_report
from train.report.stock_data import listed_stocks, stock_series

LIMIT = 10_000_000


def embedded(page: Path) -> Any:
    return json.loads(re.search(r'id="report-data">(.*?)</script>', page.read_text())[1])


def long_answer(count: int) -> Answer:
    symbols = [f"S{number:05d}" for number in range(count)]
    table = pd.DataFrame({"symbol": symbols, "reason": "frozen"})
    return Answer("Which?", f"{count} of {count}: {', '.join(symbols)}. They stand still.", table)


def write(folder: Path, count: int) -> tuple[Path, Any]:
    evidence = made_large(count)
    write_report(folder / "report.html", evidence, [long_answer(count)])
    return folder / "report.html", evidence


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return write(tmp_path_factory.mktemp("large"), 6_600)


def test_the_page_stays_below_10_mb_does_not_grow_with_the_universe_and_takes_seconds(large, tmp_path):
    page, _ = large
    assert page.stat().st_size < LIMIT
    before = time.process_time()
    fewer, _ = write(tmp_path, 2_000)
    assert time.process_time() - before < 30
    assert page.stat().st_size == pytest.approx(fewer.stat().st_size, rel=0.005)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html"]


def test_the_page_says_what_it_leaves_out(large):
    text = " ".join(large[0].read_text().split())
    assert "and 6,500 more. They stand still." in text and "The first 500 of 6600 rows." in text
    assert "and 893 more. The general model replaces" in text
    shown = len(embedded(large[0])["stocks"]["forecast"])
    assert f"The page has room for the {shown} most traded of 6600 stocks" in text and 50 < shown < 500


def test_the_stocks_of_the_page_are_those_traded_most_and_have_their_series(large):
    page, evidence = large
    stocks = embedded(page)["stocks"]
    ranks = turnover(evidence.panel)
    shown = set(stocks["forecast"])
    assert shown == set(ranks.index[: len(shown)])
    truth = stock_series(evidence, sorted(shown))
    assert stocks == json.loads(json.dumps(truth))


def test_series_that_do_not_fit_leave_out_the_stocks_traded_least(tmp_path, monkeypatch):
    evidence = made_evidence(folder=bundle(tmp_path / "release"))
    symbols, series = listed_stocks(evidence, columns=20)
    assert set(symbols) == set(evidence.universe.symbols)
    sizes = [len(json.dumps([series[part].get(s) for part in ("close", "forecast")])) for s in symbols]
    monkeypatch.setattr(stock_data, "SERIES_ROOM", sum(sizes[:3]) - 1)
    fewer, _ = listed_stocks(evidence, columns=20)
    assert fewer == symbols[:2]
    write_report(tmp_path / "report.html", evidence, answers(evidence))
    assert set(embedded(tmp_path / "report.html")["stocks"]["close"]) == set(fewer)
