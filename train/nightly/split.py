"""With which settings, and cut where, the next release is trained."""

import json
from typing import Any

import numpy as np

from common.errors import ConfigError
from common.presets import SplitSpec, TrainConfig, merged, train_config
from common.release.manifest import Release

MINIMUM_TEST = 60
"""Sessions of a test part at the least: three times the days that the gate needs to compare two releases, and
twice the longest horizon, so that every horizon is judged."""


def next_settings(
    production: Release | None, overrides: dict[str, Any], *, where: str = "settings"
) -> TrainConfig:
    """Production's settings with ``overrides``; without one, or with another preset, that preset's.

    A split among the overrides replaces production's whole split.
    """
    if production is None:
        return train_config("residual", overrides, where=where)
    stored = json.loads(production.file("config.json").read_bytes())
    if overrides.get("preset", stored["preset"]) != stored["preset"]:
        return train_config(overrides["preset"], overrides, where=where)
    if "split" in overrides:
        stored.pop("split")
    return train_config(stored["preset"], merged(stored, overrides), where=where)


def rolled(split: SplitSpec, borders: dict[str, Any], sessions: np.ndarray) -> SplitSpec:
    """Move the split on by as many sessions as were added since ``borders``.

    Validation and test part keep their lengths in sessions, the training part grows by what is new. So every
    session comes to be trained on once it is older than the test part; figures of different nights are of
    equally long tests; and a test part always is there, out of sample for what is in production too, because
    the new release's validation ends later than production's. (Shares of a growing archive would lengthen
    the parts slowly, fixed dates would let the test part grow and never train on anything new.) A test
    part shorter than ``MINIMUM_TEST`` is brought to that.

    Parameters
    ----------
    split : the settings' own split; it stays where no session was added
    borders : ``train_end``, ``valid_end`` and ``test_end`` of what is in production, ISO dates
    sessions : datetime64[D], sorted, of the new data

    Raises
    ------
    ConfigError
        If nothing would be left to train on.
    """
    ends = [np.datetime64(borders[name]) for name in ("train_end", "valid_end", "test_end")]
    train, valid, last = np.searchsorted(sessions, ends, side="right").tolist()
    if last == len(sessions):
        return split
    end = len(sessions) - max(last - valid, MINIMUM_TEST)
    start = end - (valid - train)
    if start < 1:
        raise ConfigError(
            f"split: {len(sessions)} sessions are too few for validation ({valid - train}) and a test of "
            f"{MINIMUM_TEST}. Use a longer archive."
        )
    dates = {"train_end": str(sessions[start - 1]), "valid_end": str(sessions[end - 1])}
    return SplitSpec.parse(split.model_dump(mode="json") | dates, where="split")
