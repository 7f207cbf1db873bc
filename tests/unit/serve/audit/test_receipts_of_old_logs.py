"""Receipts from logs that were edited, shortened, or written in an earlier format."""

import json
import shutil

import pytest
from support.releases.loaded_release import bundle
from support.releases.receipts import BODIES, PACKED, answer_all, id_of, receipt_of, rewrite_as_before, run

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


@pytest.mark.parametrize("name", ["own", "prices", "prices-as-of", "bars", "bars-dated", "stranger", "batch"])
def test_receipts_of_a_log_whose_prices_were_packed_replay(served, copy, tmp_path, name):
    home, _ = served
    rewrite_as_before(copy / "answers", {}, PACKED)
    shutil.rmtree(copy / "served")
    path, receipt = receipt_of(copy, name, tmp_path)
    now = receipt_of(home, name, tmp_path)[1]
    for old, new in zip(receipt["forecasts"], now["forecasts"], strict=True):
        assert (old["brought"], old["brought_digest"]) == (new["brought"], new["brought_digest"])
        assert old["probability_up"] is None and old["prediction"] == new["prediction"]
    path.write_text(json.dumps(receipt))
    done = run(copy, "replay", str(path))
    assert done.exit_code == 0, done.output


def test_a_row_with_only_a_digest_of_its_prices_has_a_receipt_that_cannot_be_replayed(copy, tmp_path):
    log = Ledger(copy, LedgerSettings())
    loaded = LoadedRelease(Registry(copy).resolve("made"))
    prepared = loaded.prepare(PredictRequest.model_validate(BODIES["prices"]))
    prices = bundle(loaded, "MOVES").forecaster.forecast(prepared.windows, prepared.levels)
    row = log._row(loaded, prepared, prices) | {"prices_digest": "ab" * 32}
    log._answers.add("key", lambda: row, "digest-only")
    log.close()
    path, receipt = receipt_of(copy, "digest-only", tmp_path)
    assert receipt["forecasts"][0]["brought_digest"] == "ab" * 32
    done = run(copy, "replay", str(path))
    assert done.exit_code == 1 and "only the digest" in str(done.exception)


def test_ids_that_clients_chose_in_a_log_of_before_have_no_receipt_and_its_chain_is_intact(copy):
    rewrite_as_before(copy / "answers", {id_of(copy, "own"): "job", id_of(copy, "general"): "job"})
    assert check(copy / "answers").verdict == "intact"
    with pytest.raises(ReceiptError, match="job: no such answer"):
        make_receipt(copy, "job")


def test_a_response_that_was_written_twice_is_once_in_its_receipt(copy):
    """A write may succeed and be taken for failed; the next try writes its rows again."""
    loaded = LoadedRelease(Registry(copy).resolve("made"))
    prepared = loaded.prepare(PredictRequest(symbol="MOVES", horizon="5d"))
    prices = bundle(loaded, "MOVES").forecaster.forecast(prepared.windows, prepared.levels)
    for _ in range(2):
        ledger = Ledger(copy, LedgerSettings())
        ledger.record(loaded, prepared, prices, "twice")
        ledger.close()
    assert len(make_receipt(copy, "twice")["forecasts"]) == 1
