"""Many blocks of symbols, many parts of files: the same archive, forecasts and figures as in one piece."""

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
from support.backtest import END, MODELS, NOMINAL, PANEL, START, UNIVERSE

from common.archive import files as archive_files
from common.archive.reader import Archive, read_archive
from common.engine import IN_PROCESS, even_blocks
from common.prices.panel import Panel
from common.prices.series import series_of_universe
from common.prices.windows import make_windows
from common.synthetic.market import MarketConfig, write_market
from train.evaluation import backtest as module
from train.evaluation import summary
from train.evaluation.backtest import backtest
from train.evaluation.matrix import performance_matrix
from train.evaluation.summary import summarise, summarise_by_symbol


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """Two years of 12 counters, with every kind of defect that the market plants."""
    folder = tmp_path_factory.mktemp("market")
    write_market(folder, MarketConfig(symbols=12, first_day="2022-01-03", last_day="2023-12-29"))
    return folder


@pytest.mark.parametrize(("lines", "rows"), [(97, 10**9), (50_000, 500), (131, 700)])
def test_an_archive_in_parts_and_blocks_is_the_archive_in_one_piece(market, monkeypatch, lines, rows):
    whole = read_archive(market)
    monkeypatch.setattr(archive_files, "PART_LINES", lines)
    monkeypatch.setattr(archive_files, "BLOCK_ROWS", rows)
    parts = read_archive(market)
    assert len(whole.notes) > 2 and (whole.ledger["outcome"] == "repaired").any()
    for each in fields(Archive):
        pd.testing.assert_frame_equal(
            getattr(parts, each.name), getattr(whole, each.name), check_exact=True, obj=each.name
        )
    assert Panel.from_archive(parts).fingerprint() == Panel.from_archive(whole).fingerprint()


def test_a_backtest_in_blocks_of_one_symbol_is_the_backtest_in_one_piece(monkeypatch):
    whole = backtest(MODELS, PANEL, NOMINAL, start=START, end=END)
    monkeypatch.setattr(module, "BLOCK_SYMBOLS", 1)
    blocks = backtest(MODELS, PANEL, NOMINAL, start=START, end=END)
    pd.testing.assert_frame_equal(blocks.table, whole.table, check_exact=True)
    assert np.array_equal(blocks.calibration.levels, whole.calibration.levels)


def test_figures_summed_up_in_blocks_are_those_of_the_whole_table(monkeypatch):
    table = backtest(MODELS, PANEL, NOMINAL, start=START, end=END).table
    whole = summarise(table, ["horizon", "symbol"])
    monkeypatch.setattr(summary, "BLOCK_SYMBOLS", 1)
    blocks = summarise_by_symbol(table)
    pd.testing.assert_frame_equal(blocks, whole, check_exact=True)
    matrices = [performance_matrix(table, UNIVERSE, PANEL, {}, figures) for figures in (None, blocks)]
    pd.testing.assert_frame_equal(*matrices, check_exact=True)


def test_the_windows_of_some_symbols_are_theirs_among_all(monkeypatch):
    every = make_windows(series_of_universe(PANEL, UNIVERSE), MODELS.window)
    middle = every.of_symbols(1, 3)
    chosen = (every.symbol >= 1) & (every.symbol < 3)
    assert middle.series.symbols == every.series.symbols[1:3]
    for name in ("cutoff", "target_date", "change", "counted"):
        np.testing.assert_array_equal(getattr(middle, name), getattr(every.take(chosen), name))


@pytest.mark.parametrize(("count", "most", "sizes"), [(0, 4, [0]), (4, 4, [4]), (9, 4, [3, 3, 3])])
def test_blocks_are_as_few_and_as_even_as_can_be(count, most, sizes):
    assert [block.stop - block.start for block in even_blocks(count, most)] == sizes


def test_in_one_process_a_call_is_made_at_once_and_each_of_its_results_is_passed_on():
    first, second = IN_PROCESS.submit(divmod, 7, 2, returns=2)
    assert list(IN_PROCESS.values([second, first])) == [1, 3]
