"""The settings and the split of the next release."""

import json
from typing import Any

import numpy as np

from common.errors import ConfigError
from common.presets import SplitSpec, TrainConfig, merged, train_config
from common.release.manifest import Release

MINIMUM_TEST = 60
"""Minimum number of sessions in a test part: three times the days that the gate needs for a comparison, and
twice the longest horizon, so that every horizon is tested."""


def next_settings(
    production: Release | None, overrides: dict[str, Any], *, where: str = "settings"
) -> TrainConfig:
    """Return production's settings with ``overrides``; a split among them replaces the entire split.

    A preset's settings replace them if nothing is in production or ``overrides`` change the preset.
    """
    if production is None:
        return train_config("residual", overrides, where=where)
    stored = json.loads(production.file("config.json").read_bytes())
    if overrides.get("preset", stored["preset"]) != stored["preset"]:
        return train_config(overrides["preset"], overrides, where=where)
    if "split" in overrides:
        stored.pop("split")
    return train_config(stored["preset"], merged(stored, overrides), where=where)


def move_split(split: SplitSpec, borders: dict[str, Any], sessions: np.ndarray) -> SplitSpec:
    """Move the split on by the number of sessions added since ``borders``.

    The validation and test parts keep their lengths in sessions (at least ``MINIMUM_TEST`` for the test), and
    the training part grows. Every session is thus trained on once it is older than the test part, tests of
    different nights are equally long, and the test is out of sample for production too, because the new
    release's validation ends later. Shares of a growing archive would slowly lengthen the parts; fixed dates
    would only lengthen the test.

    Parameters
    ----------
    split : the configured split; returned unchanged if no session was added
    borders : ``train_end``, ``valid_end`` and ``test_end`` of production, ISO dates
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
