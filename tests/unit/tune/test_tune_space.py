"""The space: what a file may say, and how a point becomes settings."""

import hashlib
import json

import pytest
from support.tuning.search import planned

from common.errors import ConfigError
from common.presets import PRESETS, train_config
from tune.space import LIMITS, SearchSpace, apply, defaults
from tune.study import distributions, rounded

POINT = {
    "embedding_dim": 16,
    "lstm_1": 32,
    "lstm_2": 64,
    "dropout": 0.1,
    "dense_units": 20,
    "learning_rate": 0.002,
    "window_size": 45,
    "l2": 1e-5,
}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dropot": 0.1}, ["dropot", "no such setting", "dropout"]),
        ({"lstm_1": {"low": 64, "high": 16}}, ["lstm_1", "64", "below", "16"]),
        ({"lstm_1": {"low": 16, "high": 16}}, ["lstm_1", "below"]),
        ({"embedding_dim": {"low": 2, "high": 600}}, ["embedding_dim", "600", "1 to 512"]),
        ({"dropout": {"low": -0.1, "high": 0.5}}, ["dropout", "-0.1"]),
        ({"embedding_dim": {"low": 2.5, "high": 8}}, ["embedding_dim", "whole"]),
        ({"window_size": {"choices": [30, 42.5]}}, ["window_size", "whole"]),
        ({"learning_rate": {"low": 0.001}}, ["learning_rate", "low and high"]),
        ({"dropout": {"low": 0, "high": 0.5, "log": True}}, ["dropout", "above 0"]),
        ({"l2": {"low": 0, "high": 1, "choices": [0]}}, ["l2", "not both"]),
        ({"l2": {"choices": []}}, ["l2", "at least one"]),
        ({"l2": {"choices": [0, 0]}}, ["l2", "different"]),
        ({"l2": "small"}, ["l2", "small"]),
        ({"dense_units": {"lo": 1, "high": 2}}, ["dense_units.lo", "no such setting"]),
        ({"dense_units": {"low": "a", "high": 2}}, ["dense_units.low"]),
        ({"dense_units": True}, ["dense_units"]),
        ({"dropout": {"low": float("nan"), "high": 0.5}}, ["dropout"]),
    ],
)
def test_a_mistake_in_a_space_file_is_named_with_its_place(values, words):
    with pytest.raises(ConfigError) as caught:
        SearchSpace.parse(values, where="space.toml")
    assert all(word in caught.value.message for word in ["space.toml", *words]), caught.value.message


def test_a_bare_number_fixes_a_parameter_which_is_then_not_searched():
    space = SearchSpace.parse({"dropout": 0.3, "window_size": 60})
    assert set(space.searched("general")) == set(LIMITS) - {"dropout", "window_size"}
    drawn = {name: POINT[name] for name in space.searched("general")}
    assert space.complete("general", drawn) == POINT | {"dropout": 0.3, "window_size": 60}


def test_a_space_with_nothing_left_to_search_is_refused():
    with pytest.raises(ConfigError, match="nothing to search"):
        SearchSpace.parse(POINT).searched("general")


def test_specific_models_are_searched_without_embedding_and_window():
    assert set(SearchSpace().searched("specific")) == set(LIMITS) - {"embedding_dim", "window_size"}


def test_optuna_gets_the_ranges_as_they_are_written():
    drawn = distributions(SearchSpace(), "general")
    size, rate = drawn["embedding_dim"], drawn["learning_rate"]
    assert (size.low, size.high, size.log) == (2, 64, True)
    assert (rate.low, rate.high, rate.log) == (5e-4, 1.6e-2, True)
    assert drawn["window_size"].choices == (15, 30, 45, 60)
    assert all(isinstance(choice, int) for choice in drawn["window_size"].choices)


def test_rounding_never_leaves_the_space():
    space = SearchSpace.parse({"learning_rate": {"low": 0.00123449, "high": 0.00123451, "log": True}})
    drawn = distributions(space, "general")
    assert 0.00123449 <= rounded(0.001234495, drawn["learning_rate"]) <= 0.00123451
    assert rounded(0.123456, drawn["dropout"]) == 0.1235 and rounded(32, drawn["lstm_1"]) == 32


def test_a_point_of_the_general_model_sets_its_networks_windows_and_rate_and_nothing_else():
    config = train_config("residual", {"seed": 5, "window": {"horizons": [1, 5]}})
    result = apply(POINT, config, "general")
    assert result.network.embedding_dim == 16 and result.network.lstm_units == (32, 64)
    assert (result.network.dropout, result.network.dense_units, result.network.l2) == (0.1, 20, 1e-5)
    assert (result.window.size, result.window.days, result.general.learning_rate) == (60, 45, 0.002)
    back = result.model_dump()
    for part in ("network", "window", "general"):
        back[part] = config.model_dump()[part]
    assert back == config.model_dump() and result.window.horizons == (1, 5)


def test_a_point_of_specific_models_leaves_the_general_model_alone():
    config = train_config("residual")
    point = {name: value for name, value in POINT.items() if name not in ("embedding_dim", "window_size")}
    result = apply(point, config, "specific")
    assert result.network == config.network and result.window == config.window
    assert result.general == config.general and result.finetune == config.finetune
    assert result.scratch_network.lstm_units == (32, 64) and result.scratch_network.embedding_dim == 10
    assert result.scratch.learning_rate == 0.002
    assert defaults(result, "specific") == point


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("scope", ["general", "specific"])
def test_the_defaults_are_the_point_that_changes_nothing(preset, scope):
    config = train_config(preset)
    again = apply(defaults(config, scope), config, scope)
    if scope == "specific":
        assert again.scratch_network == config.network
        again = again.model_copy(update={"scratch_network": None})
    assert again == config


def test_a_point_out_of_bounds_does_not_become_settings():
    with pytest.raises(ConfigError, match="dropout"):
        apply(POINT | {"dropout": 1.5}, train_config("residual"), "general")


def test_networks_of_another_depth_cannot_be_searched():
    with pytest.raises(ConfigError, match="two"):
        defaults(train_config("residual", {"network": {"lstm_units": [50]}}), "general")


def test_a_scratch_network_takes_what_it_leaves_out_from_the_network():
    config = train_config(
        "residual", {"network": {"dense_units": 33}, "scratch_network": {"lstm_units": [8, 8]}}
    )
    assert config.scratch_network.lstm_units == (8, 8) and config.scratch_network.dense_units == 33


@pytest.mark.parametrize(
    ("preset", "digest"),
    [
        ("residual", "072377fa56059e09a738f9acef126bb5a9ec50198d4025201045f49ad3370526"),
        ("v4_log", "0d885321be230f639ea027619a5e836aac695e32ba118f2bd26de3bcfc396699"),
    ],
)
def test_settings_without_a_scratch_network_are_written_as_before_it_existed(preset, digest):
    """The names of all runs follow from these bytes."""
    settings = PRESETS[preset].model_dump(mode="json")
    assert settings.pop("finetuned_seeds") == 2  # added later, with a new version of training
    assert settings["window"].pop("network_days", None) == (30 if preset == "residual" else None)  # likewise
    written = json.dumps(settings, sort_keys=True).encode()
    assert hashlib.sha256(written).hexdigest() == digest


def test_more_days_than_a_window_has_are_refused_with_the_next_step(tmp_path):
    with pytest.raises(ConfigError, match=r"window_size: got 20 days, but a window has 16.*window\.size"):
        planned(tmp_path, space=SearchSpace.parse({"window_size": {"choices": [10, 20]}}))
