"""Receipts of forecasts that were served over HTTP, and the same numbers made again from them."""

import hashlib
import json
import shutil

import pytest
from support.loaded_release import bundle
from support.receipts import BODIES, CLOSES, asked, id_of, receipt_of, rewrite_as_before, run
from support.release import doctored

from common.errors import ReceiptError, ReleaseNotFound
from common.release.manifest import MANIFEST
from common.release.registry import Registry
from serve.audit.files import read_day
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
    return home, asked(home)


def same(forecast, answer):
    intervals = {
        level: {side: each[side] for side in ("lower", "upper")}
        for level, each in answer["intervals"].items()
    }
    names = ("symbol", "horizon", "prediction", "mean_prediction", "last_price", "target_date", "model_type")
    assert {name: forecast[name] for name in names} == {name: answer[name] for name in names}
    assert forecast["intervals"] == intervals and forecast["cutoff"] == answer["last_date"]


@pytest.mark.parametrize("name", BODIES)
def test_a_receipt_says_what_was_served_and_replays_to_the_last_digit(served, tmp_path, name):
    home, answers = served
    path, receipt = receipt_of(home, name, tmp_path)
    (forecast,) = receipt["forecasts"]
    same(forecast, answers[name])
    done = run(home, "replay", str(path))
    assert done.exit_code == 0 and "equal" in done.stdout and "different" not in done.stdout, done.output
    (found,) = json.loads(run(home, "replay", str(path), "--json").stdout)
    assert found["equal"] and found["again"]["prediction"] == answers[name]["prediction"]


def test_an_answer_about_many_has_one_receipt_and_any_part_of_it_one_of_its_own(served, tmp_path):
    home, answers = served
    for name, wanted in (
        ("batch", ["MOVES1d", "THIN1d"]),
        ("outlook", ["GAPS1d", "GAPS5d", "GAPS10d", "GAPS30d"]),
    ):
        path, receipt = receipt_of(home, name, tmp_path)
        found = {each["symbol"] + each["horizon"]: each for each in receipt["forecasts"]}
        assert sorted(found) == sorted(wanted)
        for answer in answers[name]["predictions"]:
            same(found[answer["symbol"] + answer["horizon"]], answer)
        assert run(home, "replay", str(path)).exit_code == 0
    one = json.loads(run(home, "receipt", id_of(home, "batch"), "--symbol", "thin", "--horizon", "1d").stdout)
    assert [each["symbol"] for each in one["forecasts"]] == ["THIN"] and one["forecasts"][0]["brought"]


def test_a_receipt_names_release_data_seeds_versions_and_its_row_in_the_log(served, tmp_path):
    home, _ = served
    _, receipt = receipt_of(home, "own-again", tmp_path)
    manifest = json.loads((home / "releases" / "made" / MANIFEST).read_bytes())
    said = receipt["release"]
    assert (said["id"], said["digest"]) == ("made", manifest["digest"])
    assert said["data_sha256"] == manifest["info"]["data_sha256"] and said["seeds"] == [0]
    assert {"python", "numpy", "onnxruntime", "nsecast", "code"} <= receipt["software"].keys()
    assert receipt["chain"]["verdict"] == "intact"
    place = receipt["forecasts"][0]["place"]
    day, name = place["file"].split("/")
    read, _ = read_day(home / place["log"] / day)
    ((table, (link,)),) = [part for path, part in read.items() if path.name == name]
    row = table.slice(place["row"], 1).to_pylist()[0]
    assert row["request_ids"] == [id_of(home, name) for name in ("own", "own-again")]
    assert (place["digest"], place["writer"]) == (link.digest, link.writer)


def test_prices_that_were_brought_are_those_that_entered_the_window(served, tmp_path):
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


def test_an_edit_in_the_last_digit_with_a_digest_of_its_own_differs_and_both_are_shown(served, tmp_path):
    home, _ = served
    path, receipt = receipt_of(home, "own", tmp_path)
    served_price = receipt["forecasts"][0]["mean_prediction"]
    edited = served_price * (1 + 2**-52)
    receipt["forecasts"][0]["mean_prediction"] = edited
    path.write_text(json.dumps(sealed(receipt)))
    done = run(home, "replay", str(path))
    assert done.exit_code == 1 and "different" in done.stdout
    assert repr(edited) in done.stdout and repr(served_price) in done.stdout


@pytest.mark.parametrize("edit", [lambda r: r["release"].update(seeds=[7]), lambda r: r["forecasts"].clear()])
def test_what_it_says_of_the_release_is_compared_too_and_nothing_is_no_forecast(served, tmp_path, edit):
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


def test_what_is_no_json_and_an_answer_that_never_was_are_said(served, tmp_path):
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
    """The same log as it was written before the server made the ids: prices as JSON, ids of the clients."""

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
        found = {each["symbol"] + each["horizon"]: each for each in receipt["forecasts"]}
        wanted = answers[name].get("predictions", [answers[name]])
        assert len(found) == len(wanted) and receipt["id_made_by"] == "client"
        for answer in wanted:
            same(found[answer["symbol"] + answer["horizon"]], answer)
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
    assert sorted(each["prediction"] for each in receipt["forecasts"]) == sorted(
        answers[name]["prediction"] for name in ("own", "general", "prices", "past")
    )
    assert run(home, "replay", str(path)).exit_code == 0
    one = json.loads(run(home, "receipt", "job", "--symbol", "THIN").stdout)
    assert [each["symbol"] for each in one["forecasts"]] == ["THIN"] and one["requests"] == 1


def test_an_id_that_was_used_again_for_the_same_answer_in_an_old_log_is_said_to_be_so(before):
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


def test_prices_of_a_client_beyond_its_budget_have_a_digest_and_replay_with_the_request_alone(copy, tmp_path):
    loaded = LoadedRelease(Registry(copy).resolve("made"))
    ledger = Ledger(copy, LedgerSettings(answers_megabytes_kept=1, answers_client_share=0.015))
    prepared = loaded.prepare(PredictRequest.model_validate(BODIES["bars"]))
    prices = bundle(loaded, "MOVES").forecaster.forecast(prepared.windows, prepared.levels)
    ledger.record(loaded, prepared, prices, "poor", "client")
    ledger.close()
    path, receipt = receipt_of(copy, "poor", tmp_path)
    (forecast,) = receipt["forecasts"]
    whole = receipt_of(copy, "bars", tmp_path)[1]["forecasts"][0]
    assert forecast["brought"] is None and forecast["brought_digest"] == whole["brought_digest"]
    done = run(copy, "replay", str(path))
    assert done.exit_code == 1 and "only the digest" in str(done.exception)
    sent = tmp_path / "body.json"
    for body, said in (
        (BODIES["bars"], None),
        (BODIES["prices"], "does not match"),
        ({"symbol": 1}, "not the body"),
    ):
        sent.write_text(json.dumps(body))
        done = run(copy, "replay", str(path), "--request", str(sent))
        assert done.exit_code == (0 if said is None else 1), done.output
        assert said is None or said in str(done.exception)


def test_a_question_that_was_asked_before_costs_no_row(served):
    home, _ = served
    days = [day for day in (home / "answers").iterdir() if day.is_dir()]
    rows = [row for day in days for table, _ in read_day(day)[0].values() for row in table.to_pylist()]
    assert len(rows) == len(BODIES) - 1 + 2 + 4


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


def test_a_receipt_written_before_digests_were_in_it_replays(served, tmp_path):
    home, _ = served
    for name in ("own", "prices", "bars-dated", "batch"):
        path, receipt = receipt_of(home, name, tmp_path)
        for key in ("id_made_by", "requests"):
            del receipt[key]
        for forecast in receipt["forecasts"]:
            del forecast["brought_digest"]
        path.write_text(json.dumps(sealed(receipt)))
        done = run(home, "replay", str(path))
        assert done.exit_code == 0, done.output
