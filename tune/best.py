"""``best.toml``: the settings to train with, and where they come from."""

import importlib.metadata
from typing import Any

import tomli_w

from common.model.presets import PRESETS, TrainConfig
from tune.book import Trial
from tune.space import apply
from tune.spec import SearchSpec

VERSIONS = ("nsecast", "ray", "keras", "tensorflow", "optuna")


def best_settings(
    spec: SearchSpec, full: TrainConfig, winner: Trial, contest: dict[str, Any] | None
) -> TrainConfig:
    """The winner's settings where it was better or was not contested, else the default's.

    ``full`` are the settings that the user gave, without the reductions of a quick search.
    """
    taken = contest is None or contest["better"]
    return apply(winner.parameters, full, spec.scope) if taken else full


def best_toml(
    spec: SearchSpec,
    full: TrainConfig,
    winner: Trial,
    contest: dict[str, Any] | None,
    provenance: dict[str, Any],
) -> str:
    """A settings file: what differs from the preset, and a table that ``train`` passes over."""
    if contest is None:
        which = (
            f"Trial {winner.number}, the best on validation; not compared with the default on the test part."
        )
    elif contest["better"]:
        which = f"Trial {winner.number}. {contest['sentence']}"
    else:
        which = f"The default, because no trial was better. {contest['sentence']}"
    settings = best_settings(spec, full, winner, contest).model_dump(mode="json")
    preset = PRESETS[full.preset].model_dump(mode="json")
    changed = {"preset": full.preset} | _changed(preset, settings)
    table = tomli_w.dumps(changed | {"provenance": provenance})
    return f"# {which}\n# nsecast train --config best.toml\n\n{table}"


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in VERSIONS}


def _changed(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    result = {}
    for name, value in values.items():
        old = base.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := _changed(old, value):
                result[name] = inner
        elif value != old and value is not None:
            result[name] = value
    return result
