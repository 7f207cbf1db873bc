"""Many blocks of symbols, many parts of files: the same archive, forecasts and figures as in one piece."""

import functools
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
from support.training.backtest import END, MODELS, NOMINAL, PANEL, START, UNIVERSE

from common.archive import files as archive_files
from common.archive.reader import Archive, read_archive
from common.engine import IN_PROCESS, even_blocks
from common.forecast import groups
from common.prices import series, window_blocks
from common.prices.panel import Panel
from common.prices.series import series_of_universe
from common.release.learning import window_blocks as windows_by_blocks
from common.release.learning import windows_until
from common.synthetic.market import MarketConfig, write_market
from train.evaluation.backtest import backtest, backtest_blocks
from train.evaluation.base_rates import base_rates, with_base_rates
from train.evaluation.forecasts import Forecasts, add_stock_columns, reliability, write_forecasts
from train.evaluation.matrix import performance_matrix
from train.evaluation.summary import summarise
from train.publish.publish import read_block, write_block
from train.publish.publish import test_part as part_for_the_test


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
    monkeypatch.setattr(window_blocks, "BLOCK_SYMBOLS", 1)
    blocks = backtest(MODELS, PANEL, NOMINAL, start=START, end=END)
    pd.testing.assert_frame_equal(blocks.table, whole.table, check_exact=True)
    assert np.array_equal(blocks.calibration.levels, whole.calibration.levels)


def test_forecasts_written_and_summed_up_in_blocks_have_the_figures_of_the_whole_table(monkeypatch, tmp_path):
    whole = backtest(MODELS, PANEL, NOMINAL, start=START, end=END).table
    monkeypatch.setattr(window_blocks, "BLOCK_SYMBOLS", 1)
    borders = {"valid_end": str(START), "test_end": str(END)}
    whole = part_for_the_test(whole, borders)
    rates = base_rates(MODELS, PANEL, START)
    finish = functools.partial(write_block, str(tmp_path / "blocks"), borders)
    blocks = windows_by_blocks(PANEL, MODELS, END)
    parts = [*backtest_blocks(MODELS, blocks, NOMINAL, (START, END), finish=finish, given=[rates])[1]]
    tables = (read_block(tmp_path / "blocks", number) for number in range(len(parts)))
    write_forecasts(tmp_path / "forecasts.parquet", tables)
    whole = with_base_rates(whole, rates)
    stored = Forecasts(tmp_path / "forecasts.parquet", UNIVERSE)
    assert len(parts) > 2
    whole = whole.astype(dict.fromkeys(("cutoff", "target_date"), "datetime64[ms]"))  # as Parquet stores them
    pd.testing.assert_frame_equal(stored.read(), whole, check_exact=True)
    described = add_stock_columns(whole, UNIVERSE)
    for by in ([], ["tier"], ["sector"]):
        figures = getattr(stored, f"by_{by[0]}" if by else "pooled")
        pd.testing.assert_frame_equal(figures, summarise(described, by), check_exact=True)
    scored = whole[whole["p_move"].notna() & whole["actual"].notna() & ~whole["frozen"]]
    moved = (scored["actual"] != scored["last_price"]).to_numpy(float)
    reliabilities = reliability(scored, "p_move", moved)
    pd.testing.assert_frame_equal(stored.calibration_of_moves, reliabilities, check_exact=True)
    rose = (scored["actual"] > scored["last_price"]).to_numpy(float)
    directions = stored.calibration_of_directions.query("outcome == 'up' and tier == 'all'")
    pd.testing.assert_frame_equal(
        directions.drop(columns=["outcome", "tier"]).reset_index(drop=True),
        reliability(scored, "probability_up", rose),
        check_exact=True,
    )
    by_symbol, newest = (pd.concat(each) for each in zip(*parts, strict=True))
    by_symbol = by_symbol.sort_values(["horizon", "symbol"], ignore_index=True)
    pd.testing.assert_frame_equal(by_symbol, summarise(whole, ["horizon", "symbol"]), check_exact=True)
    matrices = [
        performance_matrix(newest, UNIVERSE, PANEL, {}, by_symbol),
        performance_matrix(whole, UNIVERSE, PANEL, {}),
    ]
    pd.testing.assert_frame_equal(*matrices, check_exact=True)


def test_forecasts_of_a_horizon_and_of_some_symbols_are_read_alike_from_memory_and_file(tmp_path):
    table = backtest(MODELS, PANEL, NOMINAL, start=START, end=END).table
    table.to_parquet(tmp_path / "forecasts.parquet", row_group_size=300)
    memory, file = Forecasts(table, UNIVERSE), Forecasts(tmp_path / "forecasts.parquet", UNIVERSE)
    assert file.horizons == memory.horizons == sorted(set(table["horizon"]))
    for chosen in ({"horizon": 5}, {"symbols": ["MOVES", "GAPS"]}, {}):
        rows = memory.read(["symbol", "horizon", "raw"], **chosen).reset_index(drop=True)
        pd.testing.assert_frame_equal(
            file.read(["symbol", "horizon", "raw"], **chosen), rows, check_exact=True
        )


def test_windows_cut_by_blocks_of_symbols_are_theirs_among_all(monkeypatch):
    monkeypatch.setattr(window_blocks, "BLOCK_SYMBOLS", 2)
    every = windows_until(PANEL, MODELS, END)
    blocks = [*windows_by_blocks(PANEL, MODELS, END)]
    assert len(blocks) > 2 and {len(block.series.symbols) for block in blocks} <= {1, 2}
    assert tuple(symbol for block in blocks for symbol in block.series.symbols) == every.series.symbols
    for name in ("cutoff", "target_date", "change", "counted"):
        joined = np.concatenate([getattr(block, name) for block in blocks])
        np.testing.assert_array_equal(joined, getattr(every, name))


def test_groups_fitted_by_blocks_of_symbols_are_those_fitted_at_once(monkeypatch):
    monkeypatch.setattr(groups, "FITTED_ON", 100)
    at_once = groups.Groups.fit([windows_until(PANEL, MODELS, START)])
    monkeypatch.setattr(window_blocks, "BLOCK_SYMBOLS", 1)
    assert groups.Groups.fit(windows_by_blocks(PANEL, MODELS, START)) == at_once and len(at_once) == 9


def test_series_built_in_blocks_of_symbols_are_those_built_at_once(monkeypatch):
    whole = series_of_universe(PANEL, UNIVERSE)
    monkeypatch.setattr(series, "BLOCK_SYMBOLS", 2)
    blocks = series_of_universe(PANEL, UNIVERSE)
    assert blocks.symbols == whole.symbols and len(whole.symbols) > 4
    for name, column in {"offsets": whole.offsets, **whole.columns}.items():
        found = blocks.offsets if name == "offsets" else blocks.columns[name]
        assert found.dtype == column.dtype
        np.testing.assert_array_equal(found, column)


@pytest.mark.parametrize(("count", "most", "sizes"), [(0, 4, [0]), (4, 4, [4]), (9, 4, [3, 3, 3])])
def test_blocks_are_as_few_and_as_even_as_can_be(count, most, sizes):
    assert [block.stop - block.start for block in even_blocks(count, most)] == sizes


def test_in_one_process_a_call_is_made_at_once_and_each_of_its_results_is_passed_on():
    first, second = IN_PROCESS.submit(divmod, 7, 2, returns=2)
    assert list(IN_PROCESS.values([second, first])) == [1, 3]
