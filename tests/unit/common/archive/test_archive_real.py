"""Every known defect of the exchange's real daily files, 2013 to October 2024."""

import csv
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.prices.adjust_factors import adjust_factors

from common.archive.flags import Flag
from common.archive.reader import read_archive
from common.exchange.universe import load_universe
from common.presets import WindowSpec
from common.prices.panel import Panel
from common.prices.series import series_from_panel
from common.prices.windows import make_windows

FOLDER = Path(os.environ.get("NSECAST_ARCHIVE") or Path(__file__).parents[5] / "shared" / "nse")
pytestmark = pytest.mark.skipif(
    not any(FOLDER.glob("NSE_data_all_stocks_*.csv")),
    reason=f"no price files in {FOLDER}; set NSECAST_ARCHIVE to the folder of the real archive",
)

LOST = ["2022-06-20", "2022-06-28", "2022-11-21"]
MENDED = [
    *("2018-02-12", "2022-06-21", "2022-06-29", "2022-07-04", "2022-07-28", "2022-10-12", "2022-11-22"),
    *("2023-01-17", "2023-02-10", "2023-03-09", "2023-04-11", "2023-10-03"),
    *("2024-01-08", "2024-02-01", "2024-03-15"),
]


@pytest.fixture(scope="module")
def archive():
    return read_archive(FOLDER)


@pytest.fixture(scope="module")
def panel(archive):
    return Panel.from_archive(archive)


def row(panel, symbol, day):
    history = panel.history(symbol).set_index("date")
    return history.loc[pd.Timestamp(day)]


def entry(archive, year, line):
    ledger = archive.ledger
    return ledger[ledger["file"].str.contains(f"_{year}") & (ledger["line"] == line)].iloc[0]


def days_noted(archive, kind):
    return archive.notes.loc[archive.notes["kind"] == kind, "date"].dt.strftime("%Y-%m-%d").tolist()


def test_every_row_read_has_one_outcome(archive):
    counts = archive.counts
    assert (counts["read"] == counts[["accepted", "repaired", "rejected"]].sum(axis=1)).all()
    for name in counts["file"]:
        lines = (FOLDER / name).read_bytes().removesuffix(b"\n").count(b"\n")
        assert counts.set_index("file").loc[name, "read"] == lines
    assert len(archive.ledger) == counts[["repaired", "rejected"]].sum().sum()


def test_every_kept_row_is_in_the_panel_and_only_rebuilt_ones_are_added(archive):
    prices = archive.counts[archive.counts["first"].notna()]
    rebuilt = (archive.rows["flags"] & int(Flag.REBUILT)) != 0
    assert len(archive.rows) == prices[["accepted", "repaired"]].sum().sum() + rebuilt.sum()
    assert not archive.rows.duplicated(["symbol", "date"]).any()


def test_case_1_the_block_dated_2015_is_2017_05_09(archive, panel):
    assert entry(archive, 2017, 6078)["reason"] == "date redated to stand between its neighbours"
    record = row(panel, "SCOM", "2017-05-09")
    assert (record["close"], record["flags"]) == (20.25, Flag.REDATED)
    redated = (panel.frame["flags"] & int(Flag.REDATED)) != 0
    assert redated.sum() == 6085 - 6016 + 1


def test_case_2_the_day_written_twice_counts_once(archive):
    assert entry(archive, 2017, 4121)["reason"] == "duplicate of NSE_data_all_stocks_2017.csv:4052"
    assert archive.ledger["reason"].str.startswith("duplicate").sum() == 69
    assert not archive.ledger["reason"].str.startswith("conflicts").any()


def test_case_3_rows_of_commas_are_rejected(archive):
    assert entry(archive, 2014, 15697)["reason"] == "empty row"
    assert entry(archive, 2018, 17652)["reason"] == "empty row"


def test_case_4_a_row_without_a_price_is_rejected(archive, panel):
    result = entry(archive, 2019, 14587)
    assert (result["symbol"], result["outcome"], result["reason"]) == ("MSC", "rejected", "no price")
    assert pd.Timestamp("2019-10-16") not in set(panel.history("MSC")["date"])


def test_case_4_no_target_lies_beyond_the_two_years_that_msc_is_missing(panel):
    windows = make_windows(series_from_panel(panel, ("MSC",)), WindowSpec())
    last, back = (np.datetime64(day) for day in ("2019-10-15", "2022-01-01"))
    assert windows.target_date[windows.cutoff == last].astype("datetime64[s]").tolist() == [[None] * 4]
    reached = windows.target_date[windows.cutoff <= last]
    assert not (reached > back).any() and np.isnat(reached).sum() == 1 + 5 + 10 + 30


def test_case_5_rows_without_a_range_are_accepted_and_flagged(panel):
    record = row(panel, "BKG", "2022-07-26")
    assert (record["close"], record["flags"]) == (29.7, Flag.NO_RANGE)
    assert ((panel.frame["flags"] & int(Flag.NO_RANGE)) != 0).sum() == 32


def test_case_6_closes_outside_their_range_lose_the_range(panel):
    record = row(panel, "NCBA", "2022-12-13")
    assert (record["close"], record["flags"]) == (34.45, Flag.BAD_RANGE)
    assert np.isnan(record["low"]) and np.isnan(record["high"])
    assert ((panel.frame["flags"] & int(Flag.BAD_RANGE)) != 0).sum() == 14


@pytest.mark.parametrize(
    ("symbol", "day", "before", "after", "year", "line"),
    [
        pytest.param("CARB", "2013-11-18", 231, 40, 2013, 13209, id="case 7"),
        pytest.param("OCH", "2014-10-13", 8.65, 2.6, 2014, 12282, id="case 8, down"),
        pytest.param("OCH", "2014-10-21", 3.7, 6.9, 2014, 12597, id="case 8, up"),
        pytest.param("KQ", "2017-11-29", 5.3, 10.35, 2017, 15623, id="case 9"),
        pytest.param("ORCH", "2018-09-18", 82, 14, 2018, 12581, id="case 10"),
        pytest.param("NBV", "2020-12-01", 0.71, 5.32, 2020, 16356, id="case 11"),
        pytest.param("IMH", "2021-05-11", 42.6, 24.85, 2021, 6263, id="case 12"),
        pytest.param("KUKZ", "2023-03-22", 384.25, 240, 2023, 3853, id="case 13"),
        pytest.param("KNRE", "2024-06-26", 2.83, 1.43, 2024, 8738, id="case 16"),
    ],
)
def test_a_change_of_the_share_itself_is_listed(archive, panel, symbol, day, before, after, year, line):
    actions = archive.actions
    result = actions[(actions["symbol"] == symbol) & (actions["date"] == day)].iloc[0]
    assert (result["before"], result["after"], result["line"]) == (before, after, line)
    assert str(year) in result["file"]
    assert row(panel, symbol, day)["flags"] & Flag.ACTION


def test_no_more_than_these_steps_are_taken_for_changes_of_the_share(archive):
    detected = archive.actions[~archive.actions["listed"]]
    assert set(zip(detected["symbol"], detected["date"].dt.year, strict=True)) == {
        *(("OCH", 2014), ("ORCH", 2018), ("SCAN", 2020), ("NBV", 2020), ("KUKZ", 2023)),
    }
    assert len(detected) == 6 and len(archive.actions) == 28 + 6


def test_every_listed_action_to_2022_is_a_change_of_the_adjust_factor_by_its_terms(archive):
    factors = adjust_factors(FOLDER)
    listed = archive.actions[archive.actions["listed"] & (archive.actions["date"] < "2023")]
    for action in listed.itertuples():
        own = factors[factors["symbol"] == action.symbol]
        before = own[own["date"] < action.date].tail(15)["factor"]
        after = own[own["date"] >= action.date].head(1)["factor"]
        terms = float(Fraction(action.terms))
        assert np.isclose(before / after.iloc[0], terms, rtol=0.004).any(), action


def test_every_change_of_the_adjust_factor_is_listed_but_where_the_column_begins(archive):
    factors = adjust_factors(FOLDER)
    before = factors.groupby("symbol")["factor"].shift()
    steps = factors[(np.log(factors["factor"] / before).abs() > 0.05)]
    result = set(zip(steps["symbol"], steps["date"].dt.strftime("%Y-%m-%d"), strict=True))
    listed = archive.actions[archive.actions["listed"]]
    entries = set(zip(listed["symbol"], listed["date"].dt.strftime("%Y-%m-%d"), strict=True))
    assert result - entries == {("CGEN", "2022-01-03"), ("IMH", "2021-05-03"), ("KQ", "2017-11-15")}
    assert entries - result == {("KNRE", "2024-06-26"), ("KQ", "2017-11-29")}


def test_case_14_the_first_row_of_lapr_has_no_previous_and_is_accepted(panel):
    first = panel.history("LAPR").iloc[0]
    assert (first["date"], first["close"]) == (pd.Timestamp("2023-03-22"), 20)
    assert (first["flags"], first["volume"]) == (0, 250_000)


def test_case_15_the_fall_of_ftgh_after_a_gap_is_a_return(archive, panel):
    record = row(panel, "FTGH", "2023-12-01")
    assert (record["close"], record["volume"], record["flags"]) == (1.0, 0, 0)
    assert "2023-12-01" in days_noted(archive, "session missing")


def test_case_17_the_rise_of_kplc_is_a_return(panel):
    record = row(panel, "KPLC", "2024-10-29")
    assert (record["close"], record["volume"], record["flags"]) == (5.24, 12_919_100, 0)


def test_case_18_a_price_with_a_comma_is_a_price(panel):
    assert row(panel, "KURV", "2024-01-02")["close"] == 1500


def test_exactly_the_18_copied_days_are_detected(archive):
    assert days_noted(archive, "stale, repaired") == MENDED
    assert days_noted(archive, "stale, not repaired") == LOST


def test_a_copied_close_of_scom_is_repaired_the_next_morning(panel):
    record = row(panel, "SCOM", "2024-01-08")
    assert (record["close"], record["flags"]) == (13.85, Flag.REPAIRED)
    assert record["known"] == pd.Timestamp("2024-01-09")
    believed = row(panel.as_of("2024-01-08"), "SCOM", "2024-01-08")
    assert (believed["close"], believed["flags"]) == (13.6, Flag.STALE)


def test_on_2019_12_10_only_the_volume_is_fake(archive, panel):
    assert days_noted(archive, "fake volume") == ["2019-12-10"]
    record = row(panel, "SCOM", "2019-12-10")
    assert (record["close"], record["flags"]) == (30.15, Flag.FAKE_VOLUME)
    assert np.isnan(record["volume"])


def test_2021_01_08_is_rebuilt_from_the_next_session(archive, panel):
    assert days_noted(archive, "session rebuilt") == ["2021-01-08"]
    record = row(panel, "SCOM", "2021-01-08")
    assert (record["flags"], record["known"]) == (Flag.REBUILT, pd.Timestamp("2021-01-11"))
    assert pd.Timestamp("2021-01-08") not in panel.as_of("2021-01-08").dates


def test_sessions_that_only_the_indices_betray_are_noted(archive):
    assert days_noted(archive, "session missing") == [
        *("2013-10-02", "2015-07-13", "2015-10-07", "2016-02-02", "2016-11-04"),
        *("2017-05-05", "2017-07-06", "2017-10-04", "2023-03-06", "2023-12-01"),
    ]


def test_the_universe_is_the_sector_file_with_its_titles_applied(panel):
    universe, listed, title, titled = load_universe(), {}, "", ""
    (path,) = FOLDER.glob("*sectors*.csv")
    for sector, symbol, name in list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))[1:]:
        if not name.strip():  # a title, which applies until the listed sector changes
            title, titled = symbol.strip(), sector.strip()
        elif not symbol.startswith("^"):
            at = title if sector.strip() == titled else sector.strip()
            listed.setdefault(symbol.strip(), (name.strip(), at))
    assert listed == {stock.symbol: (stock.name, stock.sector) for stock in universe.stocks}
    assert universe.check_against(panel.symbols) == ()


@pytest.mark.parametrize("cutoff", ["2019-12-10", "2021-01-08", "2022-06-21", "2024-01-08"])
def test_the_real_archive_cut_at_a_date_equals_the_panel_as_of_that_date(panel, tmp_path, cutoff):
    year = cutoff[:4]
    known = Panel.from_frame(panel.frame[panel.frame["date"] >= f"{year}-01-01"], "archive").as_of(cutoff)
    (path,) = FOLDER.glob(f"NSE_data_all_stocks_{year}*.csv")
    header, *lines = path.read_text(encoding="utf-8-sig").splitlines()
    days = pd.to_datetime([line.split(",")[0] for line in lines], format="mixed", dayfirst=True)
    kept = [line for line, day in zip(lines, days, strict=True) if day <= pd.Timestamp(cutoff)]
    (tmp_path / path.name).write_text("\n".join([header, *kept]) + "\n")
    cut = Panel.from_archive(read_archive(tmp_path))
    pd.testing.assert_frame_equal(known.frame, cut.frame)
