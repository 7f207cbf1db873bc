"""The log of answers: each client's share of its space, and repeated prices."""

import numpy as np
import pytest
from support.releases.ledger import CLOSES, NOON, ledger_of, prices, question
from support.releases.loaded_release import loaded_release

from serve.audit import files as ledger_files
from serve.audit.ledger import Ledger
from serve.settings import LedgerSettings

ONE_DAY = {"answers_days_kept": 1, "answers_megabytes_kept": 1}


@pytest.fixture(scope="module")
def loaded():
    return loaded_release()


def answers_of(home):
    rows = {}
    for day in sorted((home / "answers").iterdir()):
        for table, _ in ledger_files.read_day(day)[0].values() if day.is_dir() else ():
            for row in table.to_pylist():
                rows |= dict.fromkeys(row["request_ids"], row)
    return rows


def flood(ledger, loaded, many, *, first=0):
    """Requests of one client, each with prices of its own and an id as long as the server's."""
    forecasts = prices(loaded, question(loaded, symbol="MOVES", recent_prices=CLOSES))
    for number in range(first, first + many):
        closes = [100.0 + number / 100, *CLOSES[1:]]
        prepared = question(loaded, symbol="MOVES", recent_prices=closes)
        ledger.record(loaded, prepared, forecasts, f"{number:032x}", "greedy")


def test_one_clients_flood_costs_only_its_own_receipts(loaded, tmp_path):
    ledger = ledger_of(tmp_path, answers_client_share=0.1, **ONE_DAY)
    flood(ledger, loaded, 700)
    prepared = question(loaded, symbol="THIN")
    ledger.record(loaded, prepared, prices(loaded, prepared), "modest-1", "modest")
    flood(ledger, loaded, 100, first=700)
    prepared = question(loaded, symbol="THIN", recent_prices=CLOSES)
    ledger.record(loaded, prepared, prices(loaded, prepared), "modest-2", "modest")
    ledger.close()
    answers = answers_of(tmp_path)
    assert answers["modest-1"]["symbol"] == "THIN" and answers["modest-2"]["brought"]
    greedy = [row for name, row in answers.items() if not name.startswith("modest")]
    assert 100 < len(greedy) < 700 and all(row["brought"] for row in greedy)
    assert ledger.counts["over_budget"] == 800 - len(greedy) and ledger.counts["lost"] == 0


def test_a_client_that_floods_the_log_cannot_displace_the_days_of_other_clients(loaded, tmp_path):
    now = [NOON.timestamp()]
    settings = LedgerSettings(answers_days_kept=4, answers_megabytes_kept=1)
    ledger = Ledger(tmp_path, settings, clock=lambda: now[0])
    for day in range(6):
        prepared = question(loaded, symbol="THIN")
        ledger.record(loaded, prepared, prices(loaded, prepared), f"modest-{day}", "modest")
        for part in range(2):
            flood(ledger, loaded, 700, first=10_000 * day + 1_000 * part)
            ledger.flush()
        now[0] += 86_400
    ledger.close()
    assert ledger.counts["over_budget"] > 1_000
    assert {name for name in answers_of(tmp_path) if "modest" in name} == {
        f"modest-{day}" for day in (2, 3, 4, 5)
    }


def test_a_clients_budget_is_of_one_day(loaded, tmp_path):
    now = [NOON.timestamp()]
    ledger = Ledger(tmp_path, LedgerSettings(answers_client_share=0.01, **ONE_DAY), clock=lambda: now[0])
    flood(ledger, loaded, 100)
    before = dict(ledger.counts)
    now[0] += 86_400
    flood(ledger, loaded, 10, first=100)
    ledger.close()
    assert before["over_budget"] > 0 and ledger.counts["over_budget"] == before["over_budget"]
    assert all(answers_of(tmp_path)[f"{number:032x}"]["brought"] for number in range(100, 110))


@pytest.mark.parametrize(("with_prices", "many"), [(True, 800), (False, 8_000)])
def test_a_client_fills_its_budget_of_the_disk_and_no_more(loaded, tmp_path, with_prices, many):
    """With one file for all of it; every further file costs some kB, until the day is over."""
    rng, ledger = np.random.default_rng(5), ledger_of(tmp_path, answers_client_share=0.125, **ONE_DAY)
    prepared = question(loaded, symbol="MOVES")
    forecasts = prices(loaded, prepared)
    for _ in range(many):
        if with_prices:
            closes = (100 + rng.normal(size=60)).tolist()
            prepared = question(loaded, symbol="MOVES", recent_prices=closes)
            forecasts = prices(loaded, prepared)
        ledger.record(loaded, prepared, forecasts, rng.bytes(16).hex(), "one")
    ledger.close()
    size = sum(path.stat().st_size for path in (tmp_path / "answers").rglob("*.parquet"))
    assert ledger.counts["over_budget"] > 0 and 0.6 < size / (0.125 * 2**20) < 1.1


def test_repeated_requests_with_the_same_prices_share_one_row_with_all_ids(loaded, tmp_path):
    ledger = ledger_of(tmp_path)
    for number, closes in enumerate((CLOSES, CLOSES, CLOSES[1:] + CLOSES[:1])):
        prepared = question(loaded, symbol="MOVES", recent_prices=closes)
        ledger.record(loaded, prepared, prices(loaded, prepared), f"id-{number}", "one")
    ledger.close()
    answers = answers_of(tmp_path)
    assert answers["id-0"]["request_ids"] == ["id-0", "id-1"] and answers["id-2"]["request_ids"] == ["id-2"]


def test_a_row_that_is_written_just_before_its_next_request_is_noted_leaves_that_one_its_prices(
    loaded, tmp_path, monkeypatch
):
    ledger = ledger_of(tmp_path)
    monkeypatch.setattr(ledger._answers, "holds", lambda key: True)  # as it was a moment ago
    prepared = question(loaded, symbol="MOVES", recent_prices=CLOSES)
    ledger.record(loaded, prepared, prices(loaded, prepared), "late", "one")
    ledger.close()
    assert answers_of(tmp_path)["late"]["brought"]
