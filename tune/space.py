"""The search space: a range or choices for each parameter, and how a point becomes settings."""

from typing import Annotated, Any

import pydantic

from common.config import Config
from common.errors import ConfigError
from common.presets import TrainConfig, merged, train_config
from common.release.bundle import GENERAL

Parameters = dict[str, int | float]
Number = Annotated[float, pydantic.Strict()]

LIMITS: dict[str, tuple[float, float]] = {
    "embedding_dim": (1, 512),
    "lstm_1": (1, 1024),
    "lstm_2": (1, 1024),
    "dropout": (0, 0.95),
    "dense_units": (1, 2048),
    "learning_rate": (1e-6, 1),
    "window_size": (10, 250),
    "l2": (0, 1),
}
"""Bounds outside these limits are refused as mistakes."""
WHOLE = ("embedding_dim", "lstm_1", "lstm_2", "dense_units", "window_size")
GENERAL_ONLY = ("embedding_dim", "window_size")
"""Not searched for specific models: these see one stock, and read as many days as the general model."""
NETWORK = ("embedding_dim", "dropout", "dense_units", "l2")
"""Parameters that are settings of the network with the same name."""


class Dimension(Config):
    """The values that one parameter may take: from ``low`` to ``high``, or one of ``choices``.

    In a file, a plain number is a single choice: the parameter is fixed and not searched.
    """

    low: Number | None = None
    high: Number | None = None
    log: bool = False
    """Draw uniformly in the logarithm."""
    choices: tuple[Number, ...] | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return (
            {"choices": [value]} if isinstance(value, int | float) and not isinstance(value, bool) else value
        )

    @pydantic.model_validator(mode="after")
    def _either(self) -> "Dimension":
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("give low and high, or choices, not both")
            if not self.choices or len(set(self.choices)) != len(self.choices):
                raise ValueError("choices must be different numbers, at least one")
        elif self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        elif self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        elif self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g} must be above 0 where log is on")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        if self.choices is not None:
            return min(self.choices), max(self.choices)
        assert self.low is not None and self.high is not None
        return self.low, self.high

    def contains(self, value: float) -> bool:
        low, high = self.ends
        return value in self.choices if self.choices is not None else low <= value <= high

    @property
    def fixed(self) -> bool:
        return self.choices is not None and len(self.choices) == 1


class SearchSpace(Config):
    """The parameters that can be searched, with their default ranges."""

    embedding_dim: Dimension = Dimension(low=2, high=64, log=True)
    """Width of the stock embedding."""
    lstm_1: Dimension = Dimension(low=16, high=128, log=True)
    """Units of the first LSTM layer."""
    lstm_2: Dimension = Dimension(low=16, high=128, log=True)
    """Units of the second LSTM layer."""
    dropout: Dimension = Dimension(low=0, high=0.5)
    dense_units: Dimension = Dimension(low=16, high=128, log=True)
    learning_rate: Dimension = Dimension(low=5e-4, high=1.6e-2, log=True)
    """Adam's rate at the first step."""
    window_size: Dimension = Dimension(choices=(15, 30, 45, 60))
    """Trading days that the network reads, at the end of a window."""
    l2: Dimension = Dimension(choices=(0, 1e-6, 1e-5, 1e-4))

    @pydantic.field_validator("*")
    @classmethod
    def _within_limits(cls, value: Dimension, info: pydantic.ValidationInfo) -> Dimension:
        low, high = LIMITS[str(info.field_name)]
        outside = [end for end in value.ends if not low <= end <= high]
        if outside:
            raise ValueError(f"{outside[0]:g} is outside {low:g} to {high:g}")
        if info.field_name in WHOLE and any(end != int(end) for end in value.choices or value.ends):
            raise ValueError("needs whole numbers")
        return value

    def dimensions(self, model: str) -> dict[str, Dimension]:
        """Return all parameters of a model, including fixed ones."""
        return {name: getattr(self, name) for name in names(model)}

    def as_dict(self, model: str) -> dict[str, Any]:
        """Return the range or the choices of each parameter of a model as JSON values."""
        return {
            name: {"choices": [_plain(value) for value in kind.choices]}
            if kind.choices is not None
            else {"low": _plain(kind.low), "high": _plain(kind.high), "log": kind.log}
            for name, kind in self.dimensions(model).items()
        }

    def searched(self, model: str) -> dict[str, Dimension]:
        """Return the parameters that are not fixed; raises ConfigError if there are none."""
        free = {name: dimension for name, dimension in self.dimensions(model).items() if not dimension.fixed}
        if not free:
            raise ConfigError("space: every parameter is fixed, so there is nothing to search. Free one.")
        return free

    def complete(self, model: str, searched: Parameters) -> Parameters:
        """Add the fixed parameters to the searched ones, in the order of the space."""
        return {
            name: searched[name] if name in searched else typed(name, dimension.ends[0])
            for name, dimension in self.dimensions(model).items()
        }


def names(model: str) -> list[str]:
    """Return the parameters of a model, in the order of the space."""
    return [name for name in LIMITS if model == GENERAL or name not in GENERAL_ONLY]


def defaults(config: TrainConfig, model: str) -> Parameters:
    """Return the point of the space that the settings describe.

    Raises
    ------
    ConfigError
        If the networks do not have two LSTM layers.
    """
    network = config.network if model == GENERAL else config.scratch_network or config.network
    if len(network.lstm_units) != 2:
        raise ConfigError(
            f"network.lstm_units: got {len(network.lstm_units)} layers; the search is over two. "
            "Give two widths."
        )
    fit = config.general if model == GENERAL else config.scratch
    point: Parameters = {name: getattr(network, name) for name in NETWORK} | {
        "lstm_1": network.lstm_units[0],
        "lstm_2": network.lstm_units[1],
        "learning_rate": fit.learning_rate,
        "window_size": config.window.days,
    }
    return {name: point[name] for name in names(model)}


def apply(parameters: Parameters, config: TrainConfig, model: str) -> TrainConfig:
    """Return the settings changed to that point; raises ConfigError as `train_config` does."""
    network: dict[str, Any] = {name: parameters[name] for name in NETWORK if name in parameters}
    network["lstm_units"] = [parameters["lstm_1"], parameters["lstm_2"]]
    rate = {"learning_rate": parameters["learning_rate"]}
    if model == GENERAL:
        changes = {"network": network, "general": rate}
        if parameters["window_size"] != config.window.days:
            changes["window"] = {"network_days": parameters["window_size"]}
    else:
        changes = {"scratch_network": network, "scratch": rate}
    return train_config(config.preset, merged(config.model_dump(), changes), where="trial")


def typed(name: str, value: float) -> int | float:
    """Return an int for parameters that are whole numbers."""
    return int(value) if name in WHOLE else value


def _plain(value: float | None) -> int | float | None:
    """Return an int if the value is a whole number."""
    return int(value) if value is not None and value == int(value) else value
