"""Receipts of forecasts served over HTTP, and their replay with the same numbers."""

import hashlib
import json
import shutil

import pytest
from support.releases.loaded_release import bundle
from support.releases.receipts import BODIES, CLOSES, answer_all, id_of, receipt_of, run, same
from support.releases.release import doctored

from common.errors import ReceiptError, ReleaseNotFound
from common.release.manifest import MANIFEST
from common.release.registry import Registry
from serve.audit.files import read_day
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


@pytest.mark.parametrize("name", BODIES)
def test_a_receipt_says_what_was_served_and_replays_to_the_last_digit(served, tmp_path, name):
    home, answers = served
    path, receipt = receipt_of(home, name, tmp_path)
    (forecast,) = receipt["forecasts"]
    same(forecast, answers[name])
    done = run(home, "replay", str(path))
    assert done.exit_code == 0 and "equal" in done.stdout and "different" not in done.stdout, done.output
    (payload,) = json.loads(run(home, "replay", str(path), "--json").stdout)
    assert payload["equal"] and payload["again"]["prediction"] == answers[name]["prediction"]


def test_a_batch_response_has_one_receipt_and_each_of_its_parts_has_its_own(served, tmp_path):
    home, answers = served
    for name, wanted in (
        ("batch", ["MOVES1d", "THIN1d"]),
        ("outlook", ["GAPS1d", "GAPS5d", "GAPS10d", "GAPS30d"]),
    ):
        path, receipt = receipt_of(home, name, tmp_path)
        results = {forecast["symbol"] + forecast["horizon"]: forecast for forecast in receipt["forecasts"]}
        assert sorted(results) == sorted(wanted)
        for answer in answers[name]["predictions"]:
            same(results[answer["symbol"] + answer["horizon"]], answer)
        assert run(home, "replay", str(path)).exit_code == 0
    one = json.loads(run(home, "receipt", id_of(home, "batch"), "--symbol", "thin", "--horizon", "1d").stdout)
    assert [forecast["symbol"] for forecast in one["forecasts"]] == ["THIN"] and one["forecasts"][0][
        "brought"
    ]


def test_a_stock_requested_by_two_names_with_other_prices_has_both_responses_in_the_receipt(served, tmp_path):
    home, answers = served
    path, receipt = receipt_of(home, "aliases", tmp_path)
    predictions = sorted(forecast["last_price"] for forecast in receipt["forecasts"])
    assert predictions == sorted(answer["last_price"] for answer in answers["aliases"]["predictions"])
    assert len(predictions) == 2 and run(home, "replay", str(path)).exit_code == 0


def test_a_receipt_names_release_data_seeds_versions_and_its_row_in_the_log(served, tmp_path):
    home, _ = served
    _, receipt = receipt_of(home, "own-again", tmp_path)
    manifest = json.loads((home / "releases" / "made" / MANIFEST).read_bytes())
    release = receipt["release"]
    assert (release["id"], release["digest"]) == ("made", manifest["digest"])
    assert release["data_sha256"] == manifest["info"]["data_sha256"] and release["seeds"] == [0]
    assert {"python", "numpy", "onnxruntime", "nsecast", "code"} <= receipt["software"].keys()
    assert receipt["chain"]["verdict"] == "intact"
    place = receipt["forecasts"][0]["place"]
    day, name = place["file"].split("/")
    read, _ = read_day(home / place["log"] / day)
    ((table, (link,)),) = [part for path, part in read.items() if path.name == name]
    row = table.slice(place["row"], 1).to_pylist()[0]
    assert row["request_ids"] == [id_of(home, name) for name in ("own", "own-again")]
    assert (place["digest"], place["writer"]) == (link.digest, link.writer)


def test_a_receipt_has_the_prices_of_the_request_that_entered_the_window(served, tmp_path):
    home, _ = served
    brought = receipt_of(home, "prices", tmp_path)[1]["forecasts"][0]["brought"]
    assert brought["recent_prices"] == CLOSES[-60:]
    assert receipt_of(home, "own", tmp_path)[1]["forecasts"][0]["brought"] is None


EDITS = {
    "prediction": lambda r: r["forecasts"][0].update(prediction=1.0),
    "release": lambda r: r["release"].update(id="other"),
    "form": lambda r: r.update(receipt=9),
    "digest": lambda r: r.pop("digest"),
    "nothing left": lambda r: r.clear(),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_receipt_is_refused(served, tmp_path, edit):
    home, _ = served
    path, receipt = receipt_of(home, "prices", tmp_path)
    edit(receipt)
    path.write_text(json.dumps(receipt))
    done = run(home, "replay", str(path))
    assert done.exit_code == 1 and isinstance(done.exception, ReceiptError)


def sealed(receipt):
    rest = {name: value for name, value in receipt.items() if name != "digest"}
    return rest | {"digest": hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}


def test_an_edited_last_digit_with_a_matching_digest_is_detected_by_the_replay(served, tmp_path):
    home, _ = served
    path, receipt = receipt_of(home, "own", tmp_path)
    served_price = receipt["forecasts"][0]["mean_prediction"]
    edited = served_price * (1 + 2**-52)
    receipt["forecasts"][0]["mean_prediction"] = edited
    path.write_text(json.dumps(sealed(receipt)))
    done = run(home, "replay", str(path))
    assert done.exit_code == 1 and "different" in done.stdout
    assert repr(edited) in done.stdout and repr(served_price) in done.stdout


def test_an_edited_probability_is_detected_even_if_the_expected_change_is_removed(served, tmp_path):
    home, _ = served
    path, receipt = receipt_of(home, "own", tmp_path)
    receipt["forecasts"][0] |= {"probability_up": 0.99, "expected_change_percent": None}
    path.write_text(json.dumps(sealed(receipt)))
    assert run(home, "replay", str(path)).exit_code == 1


@pytest.mark.parametrize("edit", [lambda r: r["release"].update(seeds=[7]), lambda r: r["forecasts"].clear()])
def test_the_release_of_a_receipt_is_compared_too_and_a_receipt_without_forecasts_is_refused(
    served, tmp_path, edit
):
    home, _ = served
    path, receipt = receipt_of(home, "own", tmp_path)
    edit(receipt)
    path.write_text(json.dumps(sealed(receipt)))
    done = run(home, "replay", str(path))
    assert done.exit_code == 1 and isinstance(done.exception, ReceiptError)


def test_brought_prices_that_were_edited_make_another_number(served, tmp_path):
    home, _ = served
    path, receipt = receipt_of(home, "prices", tmp_path)
    receipt["forecasts"][0]["brought"]["recent_prices"][-1] += 0.5
    path.write_text(json.dumps(sealed(receipt)))
    assert run(home, "replay", str(path)).exit_code == 1


def test_invalid_json_and_an_unknown_answer_are_reported(served, tmp_path):
    home, _ = served
    path = tmp_path / "x.json"
    path.write_text("{")
    assert "not JSON" in str(run(home, "replay", str(path)).exception)
    with pytest.raises(ReceiptError, match="never: no such answer"):
        make_receipt(home, "never")
    batch = id_of(home, "batch")
    with pytest.raises(ReceiptError, match=f"{batch}, KCB: no such answer"):
        make_receipt(home, batch, "KCB")


@pytest.fixture
def copy(served, tmp_path):
    return shutil.copytree(served[0], tmp_path / "copy")


def test_a_release_that_is_gone_altered_or_another_one_is_refused(served, copy, tmp_path):
    path, _ = receipt_of(copy, "own", tmp_path)
    release = Registry(copy).resolve("made")
    doctored(release, note="another")
    done = run(copy, "replay", str(path))
    assert done.exit_code == 1 and "is not the one that answered" in str(done.exception)
    assert "is not the one that answered" in str(run(copy, "receipt", id_of(copy, "own")).exception)
    (release.path / "calibration.json").write_text("{}")
    done = run(copy, "replay", str(path))
    assert done.exit_code == 1 and "calibration.json" in str(done.exception)
    shutil.rmtree(release.path)
    done = run(copy, "replay", str(path))
    assert done.exit_code == 1 and isinstance(done.exception, ReleaseNotFound)


def test_a_stock_whose_own_model_could_not_be_loaded_is_replayed_by_the_general_one(copy, tmp_path):
    loaded = LoadedRelease(Registry(copy).resolve("made"))
    ledger = Ledger(copy, LedgerSettings())
    prepared = loaded.general(loaded.prepare(PredictRequest(symbol="MOVES")))
    prices = bundle(loaded, "general").forecaster.forecast(prepared.windows, prepared.levels)
    ledger.record(loaded, prepared, prices, "fallback")
    ledger.close()
    path, receipt = receipt_of(copy, "fallback", tmp_path)
    (forecast,) = receipt["forecasts"]
    assert (forecast["symbol"], forecast["model_type"]) == ("MOVES", "general")
    assert run(copy, "replay", str(path)).exit_code == 0


def test_a_request_beyond_its_clients_budget_has_no_receipt(copy):
    loaded = LoadedRelease(Registry(copy).resolve("made"))
    ledger = Ledger(copy, LedgerSettings(answers_megabytes_kept=1, answers_client_share=0.01))
    prepared = loaded.prepare(PredictRequest.model_validate(BODIES["bars"]))
    prices = bundle(loaded, "MOVES").forecaster.forecast(prepared.windows, prepared.levels)
    ledger.record(loaded, prepared, prices, "poor", "client")
    ledger.close()
    assert ledger.counts["over_budget"] == 1
    with pytest.raises(ReceiptError, match="poor: no such answer"):
        make_receipt(copy, "poor")


PROBABILITIES = ("probability_up", "probability_unchanged", "probability_down", "expected_change_percent")


def test_a_receipt_has_the_probabilities_of_its_forecasts_and_a_replay_compares_them(served, tmp_path):
    home, answers = served
    path, receipt = receipt_of(home, "own", tmp_path)
    (forecast,) = receipt["forecasts"]
    assert {name: forecast[name] for name in PROBABILITIES} == {
        name: answers["own"][name] for name in PROBABILITIES
    }
    assert 0 < forecast["probability_up"] < 1
    (result,) = json.loads(run(home, "replay", str(path), "--json").stdout)
    assert result["again"]["probability_down"] == forecast["probability_down"]
    forecast["probability_up"] *= 1 + 2**-50
    path.write_text(json.dumps(sealed(receipt)))
    done = run(home, "replay", str(path))
    assert done.exit_code == 1 and "different" in done.stdout


def test_a_repeated_request_adds_no_row(served):
    home, _ = served
    days = [day for day in (home / "answers").iterdir() if day.is_dir()]
    rows = [row for day in days for table, _ in read_day(day)[0].values() for row in table.to_pylist()]
    assert len(rows) == len(BODIES) - 1 + 2 + 1 + 4


def test_an_id_that_a_client_chose_names_no_receipt(served):
    """It names what the server answered to somebody else, if that client chose it too."""
    home, _ = served
    for name in BODIES:
        with pytest.raises(ReceiptError, match="no such answer"):
            make_receipt(home, name)


def test_prices_and_their_digest_are_in_the_receipt_and_the_digest_is_that_of_the_prices(served, tmp_path):
    home, _ = served
    for name in ("prices", "bars", "bars-dated", "stranger"):
        (forecast,) = receipt_of(home, name, tmp_path)[1]["forecasts"]
        request = PredictRequest.model_validate({"symbol": "MOVES"} | forecast["brought"])
        text = request.model_dump_json(exclude={"symbol", "horizon", "as_of"}, exclude_none=True)
        assert forecast["brought_digest"] == hashlib.sha256(text.encode()).hexdigest()
    (own,) = receipt_of(home, "own", tmp_path)[1]["forecasts"]
    assert own["brought_digest"] is None


def test_receipts_of_earlier_versions_replay(served, tmp_path):
    home, _ = served
    for name in ("own", "prices", "bars-dated", "batch"):
        path, receipt = receipt_of(home, name, tmp_path)
        for forecast in receipt["forecasts"]:
            for key in ("brought_digest", *PROBABILITIES):
                del forecast[key]
        path.write_text(json.dumps(sealed(receipt)))
        done = run(home, "replay", str(path))
        assert done.exit_code == 0, done.output
