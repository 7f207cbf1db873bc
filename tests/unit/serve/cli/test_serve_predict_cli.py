"""``nsecast predict``: the server's answers on a terminal."""

import io
import json
import shutil

import pytest
import typer
from rich.console import Console
from support.releases.loaded_release import SETTINGS, loaded_release, predict
from support.releases.release import doctored, made_release
from typer.testing import CliRunner

from common.release.registry import Registry
from serve.cli.predict import NARROW, WIDE, _table
from serve.cli.predict import predict as command
from serve.forecaster import Forecaster
from serve.schemas.forecast import BatchResponse

app = typer.Typer()
app.command()(command)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    made_release(home, **SETTINGS)
    Registry(home).promote("made")
    return home


def run(home, *arguments):
    return CliRunner().invoke(app, [*arguments, "--home", str(home)])


def test_json_is_the_body_of_a_batch_with_the_numbers_of_the_desk(home):
    done = run(home, "MOVES", "thin", "--horizon", "5d", "--as-of", "2022-01-10", "--json")
    assert done.exit_code == 0, done.output
    body = BatchResponse.model_validate_json(done.stdout)
    assert (body.summary.total, body.summary.failed, body.release) == (2, 0, "made")
    for prediction in body.predictions:
        expected = predict(loaded_release(), symbol=prediction.symbol, horizon="5d", as_of="2022-01-10")
        same = (
            "prediction",
            "mean_prediction",
            "intervals",
            "target_date",
            "confidence",
            "model_version",
            "mape",
        )
        assert all(getattr(prediction, name) == getattr(expected, name) for name in same)


def test_people_get_a_table_and_notes(home):
    done = run(home, "MOVES", "FROZEN")
    assert done.exit_code == 0
    assert (
        "made, 1d ahead, KES" in done.stdout and "MOVES" in done.stdout and "residual_specific" in done.stdout
    )
    assert "The market is invented" in done.stderr and "note: FROZEN: The price has not moved" in done.stderr


def test_a_file_gets_every_column_in_full(home):
    lines = run(home, "MOVES", "FROZEN").stdout.splitlines()
    assert all(heading in lines[2] for heading in WIDE) and "…" not in "".join(lines)


def test_a_terminal_of_80_columns_shows_every_price_in_full(home):
    response = Forecaster.from_release("made", home).answer(["MOVES", "FROZEN"], "5d")
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(_table(response, NARROW, wide=False))
    shown = console.export_text()
    assert "…" not in shown
    for prediction in response.predictions:
        words = (
            prediction.symbol,
            f"{prediction.last_price:,.2f}",
            f"{prediction.prediction:,.2f}",
            str(prediction.target_date),
        )
        assert all(word in shown for word in words)


def test_a_bad_symbol_is_reported_with_exit_code_1_and_the_others_are_forecast(home):
    done = run(home, "MOVES", "MOVED", "../etc", "SHORT")
    assert done.exit_code == 1 and "MOVES" in done.stdout
    assert "no forecast: MOVED: not one of the 6 stocks. Did you mean MOVES?" in done.stderr
    assert "no forecast: symbol: got '../ETC', need a symbol" in done.stderr
    assert "no forecast: SHORT: need 12 closes, the release has 9" in done.stderr
    only = run(home, "MOVED", "--json")
    assert only.exit_code == 1 and json.loads(only.stdout)["summary"]["failed"] == 1


def test_an_unknown_horizon_is_a_usage_error(home):
    assert run(home, "MOVES", "--horizon", "7d").exit_code == 2


def test_a_specific_bundle_that_cannot_be_loaded_is_answered_by_the_general_model(tmp_path):
    def spoil(folder):
        shutil.copy(folder / "manifest.json", folder / "stock_specific_residual" / "MOVES" / "model.onnx")

    doctored(made_release(tmp_path, **SETTINGS), spoil)
    done = run(tmp_path, "MOVES", "--release", "made", "--json")
    assert done.exit_code == 0, done.output
    (result,) = json.loads(done.stdout)["predictions"]
    assert result["model_type"] == "general"
    assert "fallback" in {caveat["code"] for caveat in result["warnings"]}
