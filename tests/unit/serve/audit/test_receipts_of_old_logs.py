"""Receipts from logs that were edited, shortened, or written in an earlier format."""

import json
import shutil

import pytest
from support.releases.loaded_release import bundle
from support.releases.receipts import answer_all, id_of, receipt_of, rewrite_as_before, run, same

from common.errors import ReceiptError
from common.release.registry import Registry
from serve.audit.hash_chain import check
from serve.audit.ledger import Ledger
from serve.audit.receipts import make_receipt
from serve.inference.loaded_release import LoadedRelease
from serve.schemas.forecast import PredictRequest
from serve.settings import LedgerSettings


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A storage root, and the answers that a server gave from it."""
    home = tmp_path_factory.mktemp("home")
    return home, answer_all(home)


@pytest.fixture
def copy(served, tmp_path):
    return shutil.copytree(served[0], tmp_path / "copy")


def test_a_log_that_was_edited_gives_no_receipt_and_names_the_file(copy):
    (part,) = (copy / "answers").rglob("*.parquet")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    with pytest.raises(ReceiptError, match=f"broken: .*{part.name}"):
        make_receipt(copy, id_of(copy, "prices"))


def test_a_log_that_is_broken_elsewhere_gives_a_receipt_and_says_so_in_the_exit_code(copy):
    (part,) = (copy / "answers").rglob("*.parquet")
    (part.parent / "other.parquet").write_bytes(b"PAR1 not really")
    done = run(copy, "receipt", id_of(copy, "own"))
    assert done.exit_code == 3 and "the log is broken: " in done.stderr and "other.parquet" in done.stderr
    assert json.loads(done.stdout)["chain"]["verdict"] == "broken"


def test_when_answers_are_dropped_the_first_request_of_a_forecast_still_has_its_receipt(copy, tmp_path):
    shutil.rmtree(copy / "answers")
    path, receipt = receipt_of(copy, "own", tmp_path)
    assert receipt["forecasts"][0]["place"]["log"] == "served"
    assert run(copy, "replay", str(path)).exit_code == 0


@pytest.fixture
def before(copy):
    """The same log in its earlier format: prices as JSON, ids chosen by the clients."""

    def written(**ids):
        names = {id_of(copy, name): chosen for name, chosen in ids.items()}
        rewrite_as_before(copy / "answers", names)
        shutil.rmtree(copy / "served")
        return copy

    return written


def test_a_log_written_before_the_server_made_the_ids_is_intact_and_its_receipts_replay(
    served, before, tmp_path
):
    _, answers = served
    home = before(**{name: name for name in answers})
    assert check(home / "answers").verdict == "intact"
    path = tmp_path / "old.json"
    for name in answers:
        done = run(home, "receipt", name, "--out", str(path))
        assert done.exit_code == 0, done.output
        receipt = json.loads(path.read_bytes())
        results = {forecast["symbol"] + forecast["horizon"]: forecast for forecast in receipt["forecasts"]}
        wanted = answers[name].get("predictions", [answers[name]])
        assert len(results) == len(wanted) and receipt["id_made_by"] == "client"
        for answer in wanted:
            same(results[answer["symbol"] + answer["horizon"]], answer)
        done = run(home, "replay", str(path))
        assert done.exit_code == 0, done.output


def test_an_id_that_a_client_gave_to_several_requests_in_an_old_log_has_a_receipt_of_all_its_forecasts(
    served, before, tmp_path
):
    _, answers = served
    home, path = before(own="job", general="job", prices="job", past="job"), tmp_path / "job.json"
    assert run(home, "receipt", "job", "--out", str(path)).exit_code == 0
    receipt = json.loads(path.read_bytes())
    assert receipt["id_made_by"] == "client"
    assert sorted(forecast["prediction"] for forecast in receipt["forecasts"]) == sorted(
        answers[name]["prediction"] for name in ("own", "general", "prices", "past")
    )
    assert run(home, "replay", str(path)).exit_code == 0
    one = json.loads(run(home, "receipt", "job", "--symbol", "THIN").stdout)
    assert [item["symbol"] for item in one["forecasts"]] == ["THIN"] and one["requests"] == 1


def test_an_id_reused_for_the_same_answer_in_an_old_log_is_reported(before):
    home = before(**{"own": "job", "own-again": "job"})
    done = run(home, "receipt", "job")
    assert done.exit_code == 0 and "2 requests with this id got the same answer" in done.stderr
    assert json.loads(done.stdout)["requests"] == 2


def test_an_id_that_was_used_in_two_files_of_an_old_log_is_of_two_requests(copy):
    loaded = LoadedRelease(Registry(copy).resolve("made"))
    ledger = Ledger(copy, LedgerSettings())
    prepared = loaded.prepare(PredictRequest(symbol="MOVES", horizon="5d"))
    prices = bundle(loaded, "MOVES").forecaster.forecast(prepared.windows, prepared.levels)
    ledger.record(loaded, prepared, prices, "second")
    ledger.close()
    shutil.rmtree(copy / "served")
    rewrite_as_before(copy / "answers", {id_of(copy, "own"): "job", "second": "job"})
    with pytest.raises(ReceiptError, match="2 requests have this id"):
        make_receipt(copy, "job")
