"""The published files of one model: their paths in a release, and how to read them without unpickling."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.errors import BundleError
from common.forecast.factors import Factors
from common.forecast.forecaster import ModelForecaster, OnnxNetwork
from common.forecast.probabilities import ProbabilityCalibration
from common.forecast.representation import representation_from_dict
from common.presets import WindowSpec
from common.release.manifest import read_json

GENERAL: Final = "general"
EVALUATED: Final = "evaluated"
"""Folder of a release with the networks that its figures are measured on, where it serves refitted ones."""
MAX_STOCKS = 2**31
"""Stock ids are int32."""


@dataclass(frozen=True)
class BundleFiles:
    """Paths of a bundle's files below a release."""

    folder: Path
    weights: str
    scaler: str

    @classmethod
    def of(cls, preset: str, job: str) -> "BundleFiles":
        """Return the paths for the general model (job ``"general"``) or one symbol.

        Raises
        ------
        BundleError
            If the preset or the job is not a plain name, so the folder could be outside the release.
        """
        for what, name in (("preset", preset), ("job", job)):
            if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\0"):
                raise BundleError(f"{what}: got {name!r:.80}, need a plain name. Publish the release again.")
        if job == GENERAL:
            return cls(Path(f"general_{preset}"), f"general_{preset}_best.h5", "scalers")
        return cls(Path(f"stock_specific_{preset}") / job, f"{job}_best.h5", "scaler")


@dataclass(frozen=True)
class Bundle:
    """A bundle read from ONNX and JSON."""

    forecaster: ModelForecaster
    window: WindowSpec
    metadata: dict[str, Any]


def load_bundle(root: Path, preset: str, job: str) -> Bundle:
    """Read one bundle of the release (or staging folder) at ``root``.

    All models use the probability calibration of the general one, if it has one.

    Raises
    ------
    BundleError
        If a file is missing or invalid; names it.
    """
    files = BundleFiles.of(preset, job)
    folder = root / files.folder
    metadata = read_json(folder / "metadata.json")
    representation = representation_from_dict(read_json(folder / f"{files.scaler}.json"))
    try:
        window, stock_ids = WindowSpec.model_validate(metadata["window"]), metadata["stock_ids"]
        if not all(isinstance(number, int) and 0 <= number < MAX_STOCKS for number in stock_ids.values()):
            raise ValueError(f"stock_ids: need whole numbers from 0 to {MAX_STOCKS - 1}")
        trusted = {symbol: bool(beats) for symbol, beats in metadata["beats_naive"].items()}
        factors = Factors.from_dict(metadata["factors"]) if "factors" in metadata else None
        if factors is not None and factors.horizons != window.horizons:
            raise ValueError(f"factors of horizons {factors.horizons}, need {window.horizons}")
        calibration = _probability_calibration(root, preset, metadata if job == GENERAL else None, window)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise BundleError(f"{folder / 'metadata.json'}: {type(error).__name__}: {error}.") from None
    network = OnnxNetwork(folder / "model.onnx")
    forecaster = ModelForecaster(network, representation, stock_ids, trusted, factors, calibration)
    return Bundle(forecaster, window, metadata)


def _probability_calibration(
    root: Path, preset: str, general: dict[str, Any] | None, window: WindowSpec
) -> ProbabilityCalibration | None:
    """Return the general bundle's calibration; None before it is written and in releases without one."""
    if general is None:
        path = root / BundleFiles.of(preset, GENERAL).folder / "metadata.json"
        general = read_json(path) if path.exists() else {}
    stored = general.get("probability_calibration")
    return ProbabilityCalibration.from_dict(stored, window.horizons) if stored else None
