"""Settings of a training run: windows, networks, fitting and the two presets."""

import datetime as dt
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import pydantic
from annotated_types import Ge, Gt, Le, Lt
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from common.config import Config
from common.errors import ConfigError

Share = Annotated[float, Ge(0), Lt(1)]
SPECIFIC: Final = "stock_specific"
"""Model type of a stock's own model; the other type is ``general``."""


class WindowSpec(Config):
    size: Annotated[int, Ge(10)] = 60
    """Trading days of input, the cutoff included."""
    network_days: PositiveInt | None = pydantic.Field(default=None, exclude_if=lambda days: days is None)
    """The last days of a window, which the network reads; None: all of them. Volatility, scaling and whether
    a price moves are those of the whole window."""
    horizons: tuple[PositiveInt, ...] = (1, 5, 10, 30)
    """Trading days ahead that are forecast. A horizon's weight, in the loss and in the choice of models, is 1
    at 1 day, .125 at 5, .0625 at 10 and .03 at 30 and more (`train.run.scores.horizon_weights`)."""

    @pydantic.field_validator("horizons")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or list(value) != sorted(set(value)):
            raise ValueError("horizons must be ascending and without repeats, such as [1, 5, 10, 30]")
        return value

    @property
    def days(self) -> int:
        """Trading days that the network reads."""
        return min(self.network_days or self.size, self.size)


class SplitSpec(Config):
    """Chronological split by target date; explicit dates win over shares."""

    train_share: Annotated[float, Gt(0), Lt(1)] = 0.8
    valid_share: Annotated[float, Gt(0), Lt(1)] = 0.1
    train_end: dt.date | None = None
    """Last target date of the training part."""
    valid_end: dt.date | None = None
    """Last target date of the validation part."""

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> "SplitSpec":
        if (self.train_end is None) != (self.valid_end is None):
            raise ValueError("give train_end and valid_end together, or neither")
        if self.train_end and self.valid_end and self.train_end >= self.valid_end:
            raise ValueError(f"train_end {self.train_end} must be before valid_end {self.valid_end}")
        if self.train_share + self.valid_share >= 1:
            raise ValueError("train_share + valid_share must leave a part for the test")
        return self


class NetworkConfig(Config):
    embedding_dim: PositiveInt = 10
    """Width of the stock embedding."""
    lstm_units: tuple[PositiveInt, ...] = (50, 50)
    """Units of each LSTM layer, first to last."""
    dense_units: PositiveInt = 25
    dropout: Share = 0.2
    l2: NonNegativeFloat = 0.0
    """L2 penalty on the LSTM kernels (.01 is far too much, see docs/decisions.md)."""


@dataclass(frozen=True)
class NetworkShape:
    """The shapes of a network's inputs and outputs."""

    size: int
    channels: int
    days: tuple[int, ...]
    """Trading days ahead of each of the H horizons."""
    stock_ids: int
    """Number of stock ids, 0 ("unknown") included."""
    mixture: bool
    """Whether outputs are mixtures, shape (N, H, 14), or one number per horizon, shape (N, H, 1)."""

    @property
    def horizons(self) -> int:
        return len(self.days)


class FitConfig(Config):
    learning_rate: PositiveFloat = 4e-3
    """Adam's rate at the first step; a cosine schedule lowers it to ``final_fraction`` of that."""
    final_fraction: Annotated[float, Gt(0), Le(1)] = 0.03
    clipnorm: PositiveFloat = 1.0
    batch_size: PositiveInt = 256
    epoch_share: Annotated[float, Gt(0), Le(1)] = 1.0
    """Share of the training windows drawn at random in each epoch."""
    windows_per_epoch: PositiveInt | None = None
    """Maximum number of windows per epoch, however long the archive."""
    epochs: PositiveInt = 20
    patience: PositiveInt = 8
    """Epochs without a better validation loss before stopping; the best weights are kept."""
    unknown_id_rate: Share = 0.1
    """Share of windows whose stock id is replaced by 0, "unknown"."""
    closes_only_rate: Share = 0.15
    """Share of windows whose high, low, volume and market channels are hidden."""
    market_hidden_rate: Share = 0.05
    """Share of windows whose market channel is hidden."""
    step_zero: bool = False
    """Whether the starting weights are a candidate for the best ones (fine-tuning)."""


class TrainConfig(Config):
    """All settings that, with the data, determine a run's result."""

    preset: str = "residual"
    representation: Literal["residual", "level"] = "residual"
    """``residual``: volatility-scaled change as a mixture; ``level``: the scaled log price."""
    general_sees: Literal["all", "general"] = "all"
    """Stocks on which the general model is trained: all, or the general tier only."""
    quick: bool = False
    """Trained with a fraction of the work, to try things; any other release replaces it."""
    seed: NonNegativeInt = 0
    seeds: PositiveInt = 4
    """Networks averaged into one model, with seeds ``seed``, ``seed + 1`` and so on."""
    window: WindowSpec = WindowSpec(network_days=30)
    split: SplitSpec = SplitSpec()
    network: NetworkConfig = NetworkConfig(dense_units=64)
    scratch_network: NetworkConfig | None = pydantic.Field(
        default=None, exclude_if=lambda network: network is None
    )
    """The network of specific models fitted from scratch; settings left out are those of ``network``."""
    general: FitConfig = FitConfig(epoch_share=1 / 3, windows_per_epoch=64_000, epochs=15)
    scratch: FitConfig = FitConfig(batch_size=64, epochs=15, patience=5)
    finetune: FitConfig | None = FitConfig(
        learning_rate=3e-4, batch_size=64, epochs=5, patience=3, step_zero=True
    )
    """Unset: specific models are fitted from scratch only."""
    finetuned_seeds: PositiveInt = 2
    """Number of the ``seeds`` networks, from the first, that each specific model is fine-tuned from."""
    minimum_windows: PositiveInt = 250
    """Training windows with a moving price that a specific model needs; with fewer, its job is skipped."""


PRESETS: dict[str, TrainConfig] = {
    "residual": TrainConfig(),
    "v4_log": TrainConfig(
        preset="v4_log",
        representation="level",
        general_sees="general",
        seeds=1,
        window=WindowSpec(horizons=(1,)),
        network=NetworkConfig(),
        general=FitConfig(learning_rate=1e-3, epoch_share=1 / 3, windows_per_epoch=64_000),
        scratch=FitConfig(learning_rate=1e-3, batch_size=64, epochs=15, patience=5),
        finetune=None,
    ),
}


def train_config(
    preset: str = "residual", overrides: dict[str, Any] | None = None, *, where: str = "settings"
) -> TrainConfig:
    """Return a preset with nested overrides; ConfigError on an unknown name or a value out of bounds."""
    overrides = dict(overrides or {})
    preset = overrides.pop("preset", preset)
    if preset not in list(PRESETS):
        raise ConfigError(f"{where}: preset: unknown {preset!r}. Known: {', '.join(PRESETS)}.", preset=preset)
    values = merged(PRESETS[preset].model_dump(), overrides)
    if isinstance(values.get("scratch_network"), dict) and isinstance(values["network"], dict):
        values["scratch_network"] = merged(values["network"], values["scratch_network"])
    return TrainConfig.parse(values, where=where)


def quick(config: TrainConfig) -> TrainConfig:
    """Reduce a run to a fraction of the work, to try things out; its figures measure nothing."""
    fits = {
        name: {"epochs": min(getattr(config, name).epochs, 2)}
        for name in ("general", "scratch", "finetune")
        if getattr(config, name)
    }
    fits["general"]["windows_per_epoch"] = 6_400
    return train_config(config.preset, merged(config.model_dump(), {**fits, "seeds": 1, "quick": True}))


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes``, nested tables included."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result
