"""A server of small releases, its requests and their expected forecasts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from common.release.registry import Registry
from common.release.released_models import Forecast, ReleasedModels

SETTINGS = {"requests_under_way": 6, "specific_min": 2, "specific_max": 2, "reload_every_s": 0.5}
SYMBOLS = ("FROZEN", "GAPS", "MOVES", "SPLITS", "THIN")


@dataclass(frozen=True)
class Server:
    home: Path
    url: str
    pid: int
    log: Path

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, **options)

    def predict(self, **body: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/api/v4/predict", json=body, timeout=30)


def cut_the_general_network_short(folder: Path) -> None:
    path = folder / "general_residual" / "model.onnx"
    path.write_bytes(path.read_bytes()[:100])


def truth(home: Path, release: str) -> dict[str, Forecast]:
    models = ReleasedModels(Registry(home).open(release))
    return {symbol: models.forecast(symbol)[0] for symbol in SYMBOLS}


def is_true(answer: dict[str, Any], expected: Forecast) -> bool:
    """To the last digit."""
    interval = answer["confidence_interval"]
    same = answer["prediction"] == expected.published and answer["mean_prediction"] == expected.raw
    return same and (interval is None or (interval["lower"], interval["upper"]) == expected.intervals["90"])
