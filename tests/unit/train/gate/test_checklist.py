"""The checklist: a sound release passes, and each check fails on a release doctored for it."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.releases.release import UNIVERSE, doctored, made_release
from typer.testing import CliRunner

from common.prices.panel import Panel
from common.release.manifest import Release
from common.release.registry import Registry
from common.release.sanity import BOUND_MARGIN, _past
from common.release.subject import Subject
from nsecast import app
from train.gate.checklist import CHECKS, TARGET, Check, run_checklist

NAMES = [name for name, _, _ in CHECKS]
IDS = "metadata.json: stock_ids"
GENERAL, MOVES = "general_residual", "stock_specific_residual/MOVES"
UNREAD = "not checked: the release's files are damaged or incomplete"


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return made_release(tmp_path)


def failures(release: Release) -> dict[str, str]:
    """The result of each failing check."""
    return {check.name: check.found for check in run_checklist(release) if not check.passed}


def changing(name: str, **values):
    """Set top-level values of a JSON file."""

    def change(folder: Path) -> None:
        stored = json.loads((folder / name).read_bytes())
        (folder / name).write_text(json.dumps(stored | values))

    return change


def retelling(**columns):
    """Replace columns of the test forecasts by functions of the table."""

    def change(folder: Path) -> None:
        path = folder / "test_forecasts.parquet"
        table = pd.read_parquet(path)
        table.assign(**{name: new(table) for name, new in columns.items()}).to_parquet(path, index=False)

    return change


def without_rows_of(symbol: str):
    def change(folder: Path) -> None:
        panel = Panel.load(folder / "panel.parquet")
        kept = panel.frame[panel.frame["symbol"] != symbol]
        Panel.from_frame(kept, panel.source).save(folder / "panel.parquet")

    return change


def test_a_sound_release_passes_every_check_and_each_describes_its_result(release):
    checks = run_checklist(release)
    assert [check.name for check in checks] == NAMES
    assert all(isinstance(check, Check) and check.found and check.needed for check in checks)
    assert [check for check in checks if not check.passed] == []


def test_every_stock_is_counted_and_one_with_too_little_data_is_named(release):
    results = {check.name: check.found for check in run_checklist(release)}
    assert results["all counters answer"] == "5 of 6; too little data: SHORT (9 of 12 closes)"
    absent = doctored(release, without_rows_of("SHORT"))
    results = {check.name: check.found for check in run_checklist(absent)}
    assert results["all counters answer"] == "5 of 6; too little data: SHORT (0 of 12 closes)"


def test_the_original_design_passes_without_intervals(tmp_path):
    release = made_release(tmp_path, preset="v4_log")
    results = {check.name: check.found for check in run_checklist(release)}
    assert results["intervals"] == "the model gives no intervals"
    assert not failures(release).keys() & {"files", "models", "intervals", "no look-ahead"}


def test_an_altered_byte_fails_and_nothing_else_of_the_release_is_trusted(release):
    path = release.file(f"{GENERAL}/model.onnx")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    result = failures(release)
    assert f"{GENERAL}/model.onnx: got sha256" in result.pop("files")
    assert result == dict.fromkeys(NAMES[1:], UNREAD)


@pytest.mark.parametrize(
    "name", [f"{GENERAL}/scalers.joblib", f"{MOVES}/model.onnx", "calibration.json", "test_forecasts.parquet"]
)
def test_a_file_that_every_release_has_is_missed_though_the_manifest_does_not_list_it(release, name):
    result = failures(doctored(release, lambda folder: (folder / name).unlink()))
    assert result["files"] == f"no {name}"


@pytest.mark.parametrize(
    ("check", "change", "message"),
    [
        ("models", changing(f"{MOVES}/scaler.json", spread=[-1.0] * 14), "need finite means and positive"),
        (
            "models",
            changing(f"{GENERAL}/scalers.json", mean=[math.nan] * 14),
            "need finite means and positive",
        ),
        (
            "models",
            changing(f"{GENERAL}/stock_id_mapping.json", THIN=2),
            f"{GENERAL}/metadata.json: stock_ids",
        ),
        (
            "models",
            changing(f"{GENERAL}/stock_id_mapping.json", ABC=9),
            f"{GENERAL}/metadata.json: stock_ids",
        ),
        (
            "models",
            changing(f"{MOVES}/metadata.json", stock_ids={"MOVES": 1}),
            f"{MOVES}/metadata.json: stock_ids",
        ),
        (
            "models",
            changing(f"{MOVES}/metadata.json", stock_ids={"THIN": 6}),
            f"{MOVES}/metadata.json: stock_ids",
        ),
        ("models", lambda folder: (folder / MOVES / "model.onnx").write_bytes(b"x"), "MOVES: "),
        ("test MAPE", retelling(published=lambda table: 1.2 * table["actual"]), "20.000 %"),
        ("skill", retelling(raw=lambda table: 1.1 * table["raw"]), "relRMSE of the raw price is"),
        ("skill", retelling(published=lambda table: 1.1 * table["published"]), "relMAE of the published"),
        ("skill", retelling(frozen=lambda table: True), "no scored forecast of a price that moved"),
        (
            "skill of intervals",
            retelling(hi90=lambda table: table["last_price"]),
            "90 % intervals contain 0.",
        ),
        ("skill of intervals", retelling(hi95=lambda table: 9 * table["last_price"]), "relPinball of the"),
        ("skill", retelling(raw=lambda table: np.nan), "relRMSE of the raw price is nan"),
        ("intervals", retelling(hi90=lambda table: -table["hi90"]), "test part: "),
        ("intervals", retelling(lo80=lambda table: 0.9 * table["lo95"]), "test part: "),
        ("intervals", retelling(hi90=lambda table: np.nan), "test part: "),
        ("all counters answer", without_rows_of("THIN"), "4 of 6; too little data: SHORT"),
        ("all counters answer", without_rows_of("MOVES"), "MOVES: "),
        ("no look-ahead", retelling(raw=lambda table: np.nextafter(table["raw"], np.inf)), "raw is"),
    ],
)
def test_each_check_fails_on_a_release_doctored_for_it(release, check, change, message):
    result = failures(doctored(release, change))
    assert message in result[check], result
    assert "files" not in result


def test_a_manifest_that_flatters_the_error_is_caught(release):
    assert "but manifest.json says 0.5" in failures(doctored(release, test_MAPE=0.5))["test MAPE"]
    assert "but manifest.json says None" in failures(doctored(release, test_MAPE=None))["test MAPE"]


@pytest.mark.parametrize(("mape", "passes"), [(11.9, True), (12.5, False)])
def test_the_error_must_be_within_the_target_of_12_percent(release, mape, passes):
    assert TARGET == 12
    retold = retelling(published=lambda table: (1 + mape / 100) * table["actual"])
    assert ("test MAPE" not in failures(doctored(release, retold, test_MAPE=mape))) is passes


def test_a_forecast_beyond_anything_the_stock_ever_did_is_absurd(tmp_path):
    result = failures(made_release(tmp_path, shift=50.0))
    assert "no look-ahead" not in result, "it is absurd, and honestly so"
    assert "days ahead is" in result["no absurd value"] and "need" in result["no absurd value"]


def test_a_bound_may_lie_outside_the_past_by_the_stated_margin_and_no_further(release, monkeypatch):
    assert BOUND_MARGIN == 1
    monkeypatch.setattr("common.release.sanity.BOUND_MARGIN", -0.4)
    assert "95 " in failures(release)["no absurd value"]


def test_the_range_of_past_changes_equals_the_obvious_loop_and_leaves_splits_out(release):
    """A stock with a short past, GAPS here, is judged by all stocks together."""
    panel, spans = Panel.load(release.file("panel.parquet")), {}
    for symbol in UNIVERSE.symbols:
        closes = panel.history(symbol)["close"].tolist()
        steps = [math.log(after / before) for before, after in pairwise(closes)]
        steps = [0.0 if step <= math.log(0.65) or step >= math.log(1.8) else step for step in steps]
        changes = [sum(steps[i : i + 7]) for i in range(len(steps) - 6)]
        spans[symbol] = min(changes, default=0.0), max(changes, default=0.0)
    widest = min(low for low, _ in spans.values()), max(high for _, high in spans.values())
    spans |= {"GAPS": widest, "SHORT": widest}
    result = _past(Subject(release).series, 7)
    assert result.keys() == spans.keys()
    for symbol, span in result.items():
        assert span == pytest.approx(spans[symbol], abs=1e-5), symbol
    assert spans["SPLITS"][1] < 0.5, "one of its steps is a doubling"


def test_a_release_that_reads_more_than_was_known_that_evening_is_caught(release, monkeypatch):
    monkeypatch.setattr(Panel, "as_of", lambda self, cutoff: self)
    assert "cutoff is" in failures(release)["no look-ahead"]


def test_unreadable_input_fails_with_a_reason_and_no_traceback(release):
    broken = doctored(release, lambda folder: (folder / "test_forecasts.parquet").write_bytes(b"no parquet"))
    result = failures(broken)
    assert {"test MAPE", "skill", "intervals", "no look-ahead"} <= result.keys()
    assert all("Traceback" not in reason and reason for reason in result.values())
    assert "files" not in result and "models" not in result


def call(home: Path, *arguments: str):
    return CliRunner().invoke(app, ["validate", "--home", str(home), *arguments])


def test_the_validate_command_prints_the_list_and_fails_on_any_failure(release, tmp_path):
    assert call(tmp_path, "--release", "made").exit_code == 0
    answer = call(tmp_path, "--release", "latest", "--json")
    document = json.loads(answer.stdout)
    assert (document["release"], document["passed"], answer.exit_code) == ("made", True, 0)
    assert [check["name"] for check in document["checks"]] == NAMES
    doctored(release, test_MAPE=0.5)
    answer = call(tmp_path, "--release", "made")
    assert answer.exit_code == 1
    assert "SYNTHETIC DATA" in answer.stdout and "FAIL" in answer.stdout and "says 0.5" in answer.stdout
    assert not json.loads(call(tmp_path, "--release", "made", "--json").stdout)["passed"]


def test_validate_checks_production_and_reports_if_there_is_none(release, tmp_path):
    assert "nsecast train" in call(tmp_path).exception.message
    Registry(tmp_path).promote("made")
    assert "made: 9 of 9 checks pass" in call(tmp_path).stdout
