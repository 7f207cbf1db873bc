"""Probabilities by direction in answers: calibrated as in the backtest, absent where there are none."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit
from support.releases.loaded_release import SETTINGS, loaded_release, predict
from support.releases.release import doctored, made_release

from common.errors import BundleError
from common.forecast.probabilities import ProbabilityCalibration
from common.release.bundle import load_bundle
from common.release.released_models import ReleasedModels
from serve.inference.loaded_release import LoadedRelease
from serve.schemas.forecast import PredictResponse
from train.evaluation.backtest import backtest

HORIZONS = (1, 5, 10, 30)
LINES = ProbabilityCalibration(HORIZONS, ((0.5, 0.8),) * 4, ((-0.3, 1.1),) * 4)


def with_calibration(stored: object):
    """A change of a release: what its general model's metadata have as calibration; None: nothing."""

    def change(folder: Path) -> None:
        path = folder / "general_residual" / "metadata.json"
        metadata = json.loads(path.read_bytes())
        metadata.pop("probability_calibration")
        path.write_text(
            json.dumps(metadata | ({} if stored is None else {"probability_calibration": stored}))
        )

    return change


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory) -> LoadedRelease:
    release = made_release(tmp_path_factory.mktemp("calibrated"), **SETTINGS)
    return LoadedRelease(doctored(release, with_calibration(LINES.as_dict())))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> LoadedRelease:
    """A release that was published before there were calibrations."""
    release = made_release(tmp_path_factory.mktemp("earlier"), **SETTINGS)
    return LoadedRelease(doctored(release, with_calibration(None)))


def probabilities(answer: PredictResponse) -> tuple[float | None, ...]:
    return answer.probability_up, answer.probability_unchanged, answer.probability_down


def test_a_calibrated_answer_is_the_backtests_row_to_the_last_digit(calibrated):
    models, info = ReleasedModels(calibrated.release), calibrated.release.info
    dates = {"start": np.datetime64(info["valid_end"]), "end": np.datetime64(info["test_end"])}
    table = backtest(models.models, models.panel, models.calibration, **dates).table
    rows = table.groupby(["symbol", "horizon"]).sample(3, random_state=1)
    assert {"MOVES", "THIN", "FROZEN"} < set(rows["symbol"]) and len(rows) > 50
    for row in rows.itertuples():
        day = f"{row.cutoff:%Y-%m-%d}"
        answer = predict(calibrated, symbol=row.symbol, horizon=f"{row.horizon}d", as_of=day)
        assert probabilities(answer) == (row.probability_up, row.probability_unchanged, row.probability_down)
        assert answer.expected_change_percent == 100 * (row.raw / row.last_price - 1)
        assert sum(probabilities(answer)) == pytest.approx(1, abs=1e-15)
        if row.frozen:
            assert probabilities(answer) == (0, 1, 0)


@pytest.mark.parametrize("symbol", ["MOVES", "THIN"])
def test_an_own_model_and_the_general_one_are_calibrated_by_the_same_lines(calibrated, earlier, symbol):
    for horizon in HORIZONS:
        up, unchanged, down = probabilities(predict(earlier, symbol=symbol, horizon=f"{horizon}d"))
        answer = predict(calibrated, symbol=symbol, horizon=f"{horizon}d")
        move, rise = expit(0.5 + 0.8 * logit(1 - unchanged)), expit(-0.3 + 1.1 * logit(up / (up + down)))
        assert probabilities(answer) == pytest.approx((move * rise, 1 - move, move * (1 - rise)), rel=1e-9)


def test_an_earlier_release_serves_the_mixtures_own_probabilities(earlier):
    for name in ("general", "MOVES"):
        bundle = load_bundle(earlier.release.path, "residual", name)
        assert bundle.forecaster.probability_calibration is None
    forecast = ReleasedModels(earlier.release).forecast("THIN")[0]
    answer = predict(earlier, symbol="THIN")
    assert probabilities(answer) == tuple(
        forecast.probabilities[name] for name in ("up", "unchanged", "down")
    )
    assert answer.expected_change_percent == forecast.expected_change_percent


def test_the_published_price_does_not_depend_on_the_calibration(calibrated, earlier):
    for symbol in ("MOVES", "THIN", "GAPS"):
        one, other = (predict(loaded, symbol=symbol) for loaded in (calibrated, earlier))
        assert (one.prediction, one.mean_prediction, one.intervals) == (
            other.prediction,
            other.mean_prediction,
            other.intervals,
        )


def test_the_original_design_gives_none_and_an_expected_change():
    answer = predict(loaded_release("v4_log"), symbol="MOVES")
    assert probabilities(answer) == (None, None, None)
    assert answer.expected_change_percent == 100 * (answer.mean_prediction / answer.last_price - 1)


def test_a_damaged_calibration_names_the_next_step(tmp_path):
    release = made_release(tmp_path, **SETTINGS)
    changed = doctored(release, with_calibration(LINES.as_dict() | {"up": "no lines"}))
    with pytest.raises(BundleError, match="Train and publish the release again"):
        load_bundle(changed.path, "residual", "MOVES")
