"""``nsecast data check`` as a user sees it."""

import json

import pandas as pd
import pytest
from support.prices.archive import SYMBOLS, copy_day, market, weekdays, write
from typer.testing import CliRunner

from common.archive.reader import read_archive
from common.errors import ArchiveError
from train.cli.data import app, no_shares

DAYS = weekdays("2023-03-06", 8)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "archive", copy_day(market(DAYS), DAYS[3], DAYS[4]))


def check(*words):
    return CliRunner().invoke(app, ["check", *map(str, words)])


def test_the_tables_say_what_was_done_and_where_the_ledger_is(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("NSECAST_HOME", str(tmp_path / "home"))
    result = check("--archive", folder)
    assert result.exit_code == 0
    for words in (
        "NSE_data_all_stocks_2023.csv",
        "copy of the session before",
        "stale, repaired",
        "2023-03-10",
    ):
        assert words in result.stdout
    ledger = pd.read_csv(tmp_path / "home" / "checks" / "ledger.csv")
    assert len(ledger) == len(SYMBOLS) and set(ledger["outcome"]) == {"repaired"}


def test_json_is_the_only_thing_on_stdout(folder, tmp_path):
    result = check("--archive", folder, "--json", "--rejects", tmp_path / "mine.csv")
    payload = json.loads(result.stdout)
    assert payload["totals"]["read"] == len(DAYS) * len(SYMBOLS)
    assert payload["files"][0]["first"] == "2023-03-06"
    assert payload["notes"][0] == {
        "kind": "stale, repaired",
        "date": "2023-03-10",
        "rows": len(SYMBOLS),
        "detail": "copy of the session before",
    }
    assert payload["synthetic"] is False
    assert (tmp_path / "mine.csv").exists()


def test_an_archive_of_which_no_row_is_accepted_fails_with_what_to_correct(tmp_path):
    (tmp_path / "SCOM.csv").write_text("Date;Close\n2023-03-06;16,75\n")
    text = 'files = "{symbol}.csv"\ndelimiter = ";"\ncolumns = {date = "Date", close = "Close"}\n'
    (tmp_path / "columns.toml").write_text(text)
    refused = check("--archive", tmp_path, "--rejects", tmp_path / "ledger")
    assert refused.exit_code == 1 and "NO ROW WAS ACCEPTED" in refused.stdout
    (tmp_path / "columns.toml").write_text(f'decimal = ","\n{text}')
    read = check("--archive", tmp_path, "--rejects", tmp_path / "ledger")
    assert read.exit_code == 0 and f"Next: nsecast train --archive {tmp_path}" in read.stdout


def test_a_synthetic_archive_is_called_so(folder, tmp_path):
    (folder / "synthetic.json").write_text("{}")
    assert "SYNTHETIC DATA" in check("--archive", folder, "--rejects", tmp_path / "mine.csv").stdout


def test_a_missing_folder_is_an_archive_error_and_writes_nothing(tmp_path):
    result = check("--archive", tmp_path / "nowhere", "--rejects", tmp_path / "mine.csv")
    assert isinstance(result.exception, ArchiveError)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_option_is_a_usage_error():
    assert check().exit_code == 2


def test_rights_and_delisted_shares_are_named_as_such(tmp_path):
    frame = market(weekdays("2023-03-06", 3), ("SCOM", "CMC", "KCB-R"))
    folder = write(tmp_path / "early", frame)
    listed = no_shares(read_archive(folder), folder)
    assert listed[["symbol", "is", "rows"]].to_numpy().tolist() == [
        ["CMC", "delisted", 3],
        ["KCB-R", "rights", 3],
    ]
