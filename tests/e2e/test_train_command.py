"""The command as a user runs it: train, Ctrl-C, continue, list, refuse what is damaged."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.machine.processes import GONE_S, is_alive
from support.machine.waiting import until
from support.training.train_command import (
    SETTINGS,
    UNIVERSE,
    Trained,
    call,
    call_here,
    predicted,
    production,
    running_in,
    running_job,
    settings,
)

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_archive: Path) -> dict[str, Any]:
    """Where the command runs; nothing is trained yet."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "settings.toml").write_text(SETTINGS)
    (folder / "universe.toml").write_text(UNIVERSE)
    command = ["train", "--archive", str(small_archive), "--workers", "2", "--no-refit"]
    command += ["--config", "settings.toml", "--universe", "universe.toml"]
    return {"folder": folder, "home": folder / "home", "train": command, "backtests": {}}


@pytest.fixture(scope="module")
def trained(place: dict[str, Any]) -> Trained:
    with running_in(place, *place["train"]) as process:
        job = running_job(place, process.pid, epoch=1)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        until(lambda: not is_alive(job["pid"]), "the worker has ended", patience_s=GONE_S)
    run = json.loads((place["home"] / "runs" / job["run"] / "run.json").read_text())
    document = json.loads(call(place, *place["train"], "--json")[0])
    return Trained((process.returncode, out, err), run["state"], document, call(place, *place["train"])[0])


def test_ctrl_c_stops_cleanly_the_same_command_continues_and_a_third_time_does_nothing(place, trained):
    code, out, err = trained.stopped
    assert code == 130 and "the same command continues" in err and "Traceback" not in out + err
    assert trained.state == "interrupted"
    document = trained.document
    assert not document["published_before"] and document["production"] == document["release"]
    states = {row["job"]: row.get("state") for row in document["jobs"]}
    assert states == {"general": "done", "ABSA": "done", "ARM": "skipped", "pooled": None}
    assert "synthetic" in document["source"]
    (history,) = [
        json.loads(path.read_text())["history"]
        for path in place["home"].glob(f"runs/{document['run']}/tasks/general/seed-0/result.json")
    ]
    assert [epoch["epoch"] for epoch in history] == list(range(1, 41))
    assert "nothing to do" in trained.again and "SYNTHETIC" in trained.again


@pytest.mark.long
def test_sigterm_ends_like_ctrl_c_and_a_second_start_of_the_same_run_is_refused(place):
    (place["folder"] / "long.toml").write_text(settings(epochs=4_000, batch_size=64, scratch=3, finetune=2))
    other = ["long.toml" if word == "settings.toml" else word for word in place["train"]]
    with running_in(place, *other) as process:
        job = running_job(place, process.pid, epoch=1)
        _, err = call(place, *other, expect=1)
        assert str(process.pid) in err and "at work already" in err
        os.kill(process.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130 and "the same command continues" in err
        assert "Traceback" not in err and "SIGTERM" not in err
        until(lambda: not is_alive(job["pid"]), "the worker has ended", patience_s=GONE_S)


@pytest.mark.long
@pytest.mark.usefixtures("trained")
def test_a_failing_job_costs_only_itself_and_the_same_command_mends_it(place):
    command = [*place["train"], "--seed", "11"]
    run = json.loads(call_here(place, *command, "--dry-run", "--json")[0])["run"]
    before = predicted(place, "ABSA")["release"]
    in_the_way = place["home"] / "runs" / run / "tasks" / "ABSA" / "scratch-0" / "weights.npz"
    in_the_way.mkdir(parents=True)
    out, err = call(place, *command, expect=1)
    assert "failed" in out and "IsADirectoryError" in out and "Traceback" not in out + err
    assert predicted(place, "ABSA")["release"] == before, "production moved"
    document = predicted(place, "ABSA", "--release", "latest")
    assert "partial" in document["release"] and document["predictions"][0]["model_type"] == "general"

    in_the_way.rmdir()
    document = json.loads(call(place, *command, "--json")[0])
    assert document["failed"] == {} and "partial" not in document["release"]
    answer = predicted(place, "ABSA", "--release", "latest")
    assert answer["predictions"][0]["model_type"] == "stock_specific"


@pytest.mark.usefixtures("trained")
def test_the_release_has_every_file_and_every_stock(place):
    release = production(place)
    folder = place["home"] / "releases" / release["id"]
    for name in (
        "general_residual/general_residual_best.h5",
        "general_residual/model.onnx",
        "general_residual/scalers.joblib",
        "general_residual/stock_id_mapping.json",
        "general_residual/metadata.json",
        "stock_specific_residual/ABSA/ABSA_best.h5",
        "stock_specific_residual/ABSA/scaler.json",
        "panel.parquet",
        "manifest.json",
        "report.html",
    ):
        assert (folder / name).stat().st_size > 0, name
    matrix = (folder / "performance_matrix.csv").read_text().splitlines()
    assert len(matrix) == 1 + 4 and "naive_mae_1d" in matrix[0]
    assert "Synthetic data" in (folder / "report.html").read_text()
    assert not (folder / "stock_specific_residual" / "ARM").exists()


def test_wrong_options_are_explained(place):
    _, err = call_here(place, "train", "--archive", "nowhere", expect=1)
    assert "nowhere" in err and "Traceback" not in err
    _, err = call_here(place, *place["train"], "--only", "ABSA,XYZ", expect=1)
    assert "XYZ" in err
    (place["folder"] / "wrong.toml").write_text("[network]\nlstm_unit = [50]\n")
    _, err = call_here(place, "train", "--config", "wrong.toml", expect=1)
    assert "lstm_unit" in err
    call_here(place, "train", "--no-such-option", expect=2)
    (place["folder"] / "unknown.toml").write_text(UNIVERSE + 'XYZ = "No such company"\n')
    _, err = call_here(place, *place["train"], "--universe", "unknown.toml", expect=1)
    assert "XYZ" in err


@pytest.mark.usefixtures("trained")
def test_the_release_forecasts_every_stock_and_names_its_model(place):
    answers = {
        (answer["symbol"], horizon): answer
        for horizon in ("1d", "5d")
        for answer in predicted(place, "--horizon", horizon)["predictions"]
    }
    assert answers.keys() == {(symbol, h) for symbol in ("ABSA", "ARM", "COOP", "EABL") for h in ("1d", "5d")}
    assert answers["ABSA", "1d"]["model_type"] == "stock_specific"
    assert answers["COOP", "1d"]["model_type"] == "general"
    frozen = answers["ARM", "5d"]
    assert frozen["forecast_source"] == "last_price" and frozen["confidence"] == "low"
    assert frozen["prediction"] == frozen["mean_prediction"] == frozen["last_price"]
    for answer in answers.values():
        within, around = answer["intervals"]["80"], answer["intervals"]["95"]
        assert around["lower"] <= within["lower"] <= within["upper"] <= around["upper"]
    _, err = call(place, "predict", "ABSAA", expect=1)
    assert "ABSA" in err and "Traceback" not in err


@pytest.fixture
def backtested(place: dict[str, Any], trained: Trained) -> dict[str, Any]:
    """What the backtest of the release in production printed; the table is in ``all.parquet``."""
    kept, release = place["backtests"], production(place)["id"]
    if release not in kept:
        words = ("backtest", "--baselines", "quick", "--out", "all.parquet", "--json")
        kept[release] = json.loads(call_here(place, *words)[0])
    return kept[release]


def test_the_backtest_agrees_with_the_forecasts_and_reports_the_rivals_errors(place, backtested):
    document = backtested
    assert document["weights"] == "fixed" and document["source"].startswith("synthetic")
    assert {row["model"] for row in document["figures"]} == {"nsecast", "naive", "drift"}
    rows = pd.read_parquet(place["folder"] / "all.parquet").set_index(["symbol", "horizon", "cutoff"])
    day = rows.index.get_level_values("cutoff").unique().sort_values()[30]
    for horizon in (1, 5):
        predictions = predicted(place, "--as-of", f"{day:%Y-%m-%d}", "--horizon", f"{horizon}d")[
            "predictions"
        ]
        assert len(predictions) == 4
        for answer in predictions:
            row = rows.loc[(answer["symbol"], horizon, day)]
            assert (answer["prediction"], answer["mean_prediction"]) == (row["published"], row["raw"])
            bounds = answer["confidence_interval"]
            assert [bounds["lower"], bounds["upper"]] == [row["lo90"], row["hi90"]]
    _, err = call_here(place, "backtest", "--from", "2021-06-01", expect=1)
    assert "--refit-every" in err and "Traceback" not in err


@pytest.mark.usefixtures("backtested")
def test_the_report_is_one_page_and_answers_the_five_questions(place):
    out, _ = call_here(place, "report", "--out", "report.html")
    assert out.count("?") >= 5 and "What is the test MAPE?" in out
    page = (place["folder"] / "report.html").read_text()
    assert "ABSA" in page and "drift" in page and "https://" not in page.split("<body", 1)[1][:2000]


@pytest.mark.usefixtures("trained")
def test_the_checklist_prints_a_figure_for_every_point(place):
    document = json.loads(call_here(place, "validate", "--json")[0])
    assert document["passed"] and len(document["checks"]) >= 8
    assert all(check["found"] for check in document["checks"])


@pytest.mark.usefixtures("trained")
def test_a_changed_byte_is_refused_by_name(place):
    release = production(place)
    network = place["home"] / "releases" / release["id"] / "general_residual" / "model.onnx"
    content = bytearray(network.read_bytes())
    content[len(content) // 2] ^= 1
    network.write_bytes(content)
    _, err = call_here(place, "models", "verify", expect=1)
    assert release["id"] in err and "general_residual/model.onnx" in err and "Traceback" not in err
    _, err = call_here(place, "predict", "ABSA", expect=1)
    assert "model.onnx" in err

    document = json.loads(call(place, *place["train"], "--json")[0])
    assert document["release"] == document["production"] == f"{release['id']}-2", "published again, unharmed"
    call_here(place, "models", "verify", document["release"])
