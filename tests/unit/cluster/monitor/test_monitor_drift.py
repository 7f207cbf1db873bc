"""The population stability index, and the drift of inputs and forecasts it tells of."""

import math

import numpy as np
import pandas as pd
import pytest
from support.releases.release import made_release

from cluster.monitor.drift import Drift, chance, drifts, psi
from cluster.monitor.settings import MonitorSettings
from common.prices.panel import Panel
from common.release.released_models import ReleasedModels

SETTINGS = MonitorSettings()


def test_the_index_of_two_values_is_the_sum_by_hand():
    then, now = np.repeat([0.0, 1.0], [80, 20]), np.repeat([0.0, 1.0], [50, 50])
    # edges at both values and just above them: below 0, 0, between, 1, above 1
    p = (np.array([0, 80, 0, 20, 0]) + 0.5) / 102.5
    q = (np.array([0, 50, 0, 50, 0]) + 0.5) / 102.5
    assert psi(then, now) == pytest.approx(sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True)))


def test_a_sample_like_itself_has_none_and_a_shift_of_one_spread_is_large():
    rng = np.random.default_rng(0)
    then = rng.normal(size=5_000)
    assert psi(then, then) == 0
    assert psi(then, rng.normal(size=5_000)) < 0.01
    # one spread apart: the symmetric Kullback-Leibler divergence of two normals is 1, less by the binning
    assert 0.8 < psi(then, rng.normal(1, 1, size=5_000)) < 1


def test_bins_depend_only_on_the_reference():
    rng = np.random.default_rng(1)
    then, far = rng.normal(size=1_000), np.full(100, 50.0)
    assert psi(then, far) == pytest.approx(psi(then, far * 100))


def test_days_without_a_move_are_a_bin_of_their_own():
    rng = np.random.default_rng(2)
    still, moving = np.zeros(500), np.abs(rng.normal(size=500))
    assert psi(np.r_[still, moving], np.r_[np.zeros(50), np.abs(rng.normal(size=950))]) > 0.5


def test_chance_is_what_samples_of_one_distribution_stay_below():
    rng = np.random.default_rng(3)
    results = [psi(rng.normal(size=2_000), rng.normal(size=200)) for _ in range(400)]
    share = np.mean(np.array(results) < chance(200, 2_000, 0.95))
    assert 0.92 < share <= 0.99


def test_only_what_is_large_and_beyond_chance_is_a_breach():
    values = {"feature": "x", "n": 60, "reference_n": 900}
    assert Drift(psi=0.5, chance=0.4, word="large", **values).breached
    assert not Drift(psi=0.3, chance=0.4, word="large", **values).breached
    assert not Drift(psi=0.5, chance=0.4, word="too few", **values).breached


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return ReleasedModels(made_release(tmp_path_factory.mktemp("home")))


def found_in(models, panel, *, p_move=0.0):
    reference = pd.read_parquet(models.release.file("test_forecasts.parquet"))
    served = reference.assign(p_move=reference["p_move"] + p_move)
    result = drifts(models, panel, models.models.window, served, reference, SETTINGS)
    return {item.feature: item for item in result}


def test_an_unchanged_market_is_no_breach_and_every_channel_is_reported(models):
    result = found_in(models, models.panel)
    channels = models.bundle("general").forecaster.representation.channels
    assert {f"input:{name}" for name in channels} <= result.keys()
    assert {f"p_move:{h}d" for h in models.models.window.horizons} <= result.keys()
    assert [item.feature for item in result.values() if item.breached] == []
    assert result["p_move:1d"].psi == 0


def test_volumes_a_thousand_times_as_large_are_seen_in_the_turnover(models):
    frame = models.panel.frame.copy()
    newest = frame["date"] >= models.panel.dates[-60]
    frame.loc[newest, "volume"] *= 1000
    result = found_in(models, Panel.from_frame(frame, models.panel.source))
    assert result["input:turnover"].breached and not result["input:return"].breached


def test_forecasts_of_another_kind_are_seen_in_p_move(models):
    assert found_in(models, models.panel, p_move=0.4)["p_move:1d"].breached


def test_few_sessions_since_training_are_too_few(models):
    early = models.panel.as_of(np.datetime64(models.release.info["train_end"]) + 14)
    result = found_in(models, early)
    words = {item.word for name, item in result.items() if name.startswith("input:")}
    assert words == {"too few"}
