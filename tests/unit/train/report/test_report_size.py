"""The report of a large universe: a page of bounded size, and the rest in data files beside it."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.training.evidence import SYMBOLS, bundle, made_evidence, made_large

from common.release.registry import Registry
from train.evaluation.questions import Answer, answers
from train.report import data_files
from train.report.data_files import stock_series
from train.report.page import write_report

LIMIT = 10_000_000
HORIZONS = (1, 5)


def loaded(path: Path, release: str) -> Any:
    """The data that a file hands to the page."""
    start, end = f'reportData("{release}","{path.stem}",', ");\n"
    text = path.read_text()
    assert text.startswith(start) and text.endswith(end)
    return json.loads(text[len(start) : -len(end)])


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


def test_the_page_stays_below_10_mb_does_not_grow_with_counters_and_takes_seconds(
    large, tmp_path, monkeypatch
):
    page, _ = large
    assert page.stat().st_size < LIMIT
    before = time.process_time()
    fewer, _ = write(tmp_path, 2_000)
    assert time.process_time() - before < 30
    assert page.stat().st_size < fewer.stat().st_size < LIMIT, "the series of 2,000 still fit into the page"
    monkeypatch.setattr(data_files, "SERIES_ROOM", 0)
    fewer, _ = write(tmp_path, 1_500)
    assert abs(page.stat().st_size - fewer.stat().st_size) < 10_000


def test_the_page_says_what_it_leaves_out(large):
    text = " ".join(large[0].read_text().split())
    assert "and 6,500 more. They stand still." in text and "The first 500 of 6600 rows." in text
    assert "and 893 more. The general model replaces" in text


def test_every_counter_has_its_row_in_the_files_and_its_series_in_the_block_that_the_page_loads(large):
    page, evidence = large
    folder, stocks = page.with_name("report_data"), embedded(page)["stocks"]
    common = loaded(folder / "counters.js", "large")
    assert [row[common["columns"].index("symbol")] for row in common["rows"]] == list(
        evidence.universe.symbols
    )
    for horizon in HORIZONS:
        own = loaded(folder / f"counters_{horizon}.js", "large")
        place = own["columns"].index("rel_mae")
        ratios = [row[place][0] for row in own["rows"]]
        assert ratios == pytest.approx(evidence.matrix[f"rel_mae_{horizon}d"].tolist(), rel=1e-5)
        assert all(
            row[place][1].lstrip("✓✗= ").rstrip("*") == f"{row[place][0]:.3f}" for row in own["rows"][:50]
        )
    truth = stock_series(evidence)
    assert stocks["dates"] == truth["dates"]
    blocks = {first: loaded(folder / f"{n:04d}.js", "large") for n, first in enumerate(stocks["blocks"], 1)}
    assert len(blocks) > 5 and max(path.stat().st_size for path in folder.glob("0*.js")) < 400_000
    for symbol in evidence.universe.symbols[::97]:
        block = blocks[max(first for first in blocks if first <= symbol)]
        for part in ("close", "forecast"):
            assert block[part][symbol] == truth[part][symbol]


def test_its_policy_allows_programs_of_its_own_place_only(large):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', large[0].read_text())[1]
    assert "script-src 'unsafe-inline' 'self' file:;" in policy and "default-src 'none'" in policy


def test_a_small_universe_is_one_file_and_leaves_no_data_files_of_an_earlier_page(tmp_path, monkeypatch):
    evidence = made_evidence(folder=bundle(tmp_path / "release"))
    with monkeypatch.context() as patched:
        patched.setattr(data_files, "SERIES_ROOM", 0)
        write_report(tmp_path / "report.html", evidence, answers(evidence))
    assert [path.name for path in (tmp_path / "report_data").iterdir()] == ["0001.js"]
    (tmp_path / "report_data" / "mine.js").write_text("kept")
    write_report(tmp_path / "report.html", evidence, answers(evidence))
    assert [path.name for path in (tmp_path / "report_data").iterdir()] == ["mine.js"]
    assert set(embedded(tmp_path / "report.html")["stocks"]["forecast"]) < set(SYMBOLS)


def test_the_data_files_are_published_with_the_release_and_stand_in_its_manifest(tmp_path, monkeypatch):
    monkeypatch.setattr(data_files, "CELLS_ROOM", 1)
    monkeypatch.setattr(data_files, "SERIES_ROOM", 0)
    registry = Registry(tmp_path)
    staging = registry.stage("20240529-residual-abc")
    evidence = made_evidence(folder=bundle(staging))
    write_report(staging / "report.html", evidence, answers(evidence))
    release = registry.publish(staging, "20240529-residual-abc", info={})
    names = {"0001", "counters", "counters_1", "counters_5"}
    assert {f"report_data/{name}.js" for name in names} <= set(release.files)
    registry.verify("20240529-residual-abc")
