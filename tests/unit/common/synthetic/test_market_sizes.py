"""Synthetic markets of other sizes, and what writing one replaces."""

import datetime as dt
import tracemalloc

import pytest

from common.archive.reader import read_archive
from common.errors import ArchiveError, ConfigError
from common.synthetic.market import MarketConfig, write_market
from common.synthetic.simulate import make_plan

SMALL = MarketConfig(symbols=20, first_day=dt.date(2022, 6, 1), last_day=dt.date(2023, 3, 31))


def test_stocks_beyond_the_universe_get_invented_names(tmp_path):
    report = write_market(tmp_path, SMALL.model_copy(update={"symbols": 70}))
    assert len(report.symbols) == 70 and {"S00067", "S00070"} <= set(report.symbols)
    symbols = set(read_archive(tmp_path).rows["symbol"])
    assert {symbol for symbol in symbols if not symbol.startswith("^")} == set(report.symbols)


def test_a_market_with_fewer_stocks_keeps_the_well_known_ones():
    assert {"SCOM", "KCB", "ARM"} <= set(make_plan(SMALL).symbols)


def test_memory_does_not_grow_with_the_number_of_sessions(tmp_path):
    def peak(last_day):
        config = MarketConfig(symbols=2000, first_day=dt.date(2023, 2, 1), last_day=last_day)
        tracemalloc.start()
        write_market(tmp_path, config)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    short, longer = peak(dt.date(2023, 2, 8)), peak(dt.date(2023, 3, 1))
    assert longer < 40e6
    assert longer < 1.5 * short


def test_progress_counts_up_to_the_end(tmp_path):
    seen = []
    write_market(tmp_path, SMALL, lambda done, of: seen.append((done, of)))
    assert [done for done, _ in seen] == list(range(1, seen[0][1] + 1))


def test_an_older_synthetic_market_is_replaced_but_a_real_archive_is_never_touched(tmp_path):
    write_market(tmp_path / "old", SMALL)
    write_market(tmp_path / "old", SMALL.model_copy(update={"first_day": dt.date(2023, 1, 1)}))
    assert [path.name for path in (tmp_path / "old").glob("*_all_*")] == ["NSE_data_all_stocks_2023.csv"]
    real = tmp_path / "real" / "NSE_data_all_stocks_2022.csv"
    real.parent.mkdir()
    real.write_text("precious")
    with pytest.raises(ArchiveError, match="may be the real archive"):
        write_market(real.parent, SMALL)
    assert real.read_text() == "precious"


def test_a_market_without_defects_reads_without_repairs(tmp_path):
    write_market(tmp_path, SMALL.model_copy(update={"defects": False}))
    archive = read_archive(tmp_path)
    assert archive.counts.repaired.sum() == 0 and archive.notes.empty


def test_a_span_without_trading_days_is_refused_in_words():
    with pytest.raises(ConfigError, match="fewer than two trading days"):
        MarketConfig.parse({"first_day": "2024-01-06", "last_day": "2024-01-07"})
