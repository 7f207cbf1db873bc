"""The parts of the report that a release stores for serving: calibration, embedding map and answers."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from common import storage
from train.evaluation.evidence import Evidence
from train.evaluation.questions import Answer
from train.report.charts import principal_axes

FILE = "insights.json"
NEAREST = 5
FEW = 3
"""Smallest number of stocks for a map of the embedding."""


def insights(evidence: Evidence, answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the stored parts as plain JSON values.

    Returns
    -------
    dict
        ``moves``: a row per horizon and tenth of the forecast probability, see `train.evaluation.evidence`;
        ``directions``: the same of a rise, no change and a fall, for all stocks and by tier;
        ``embedding``: None without one, else ``shares`` (of the variance, of both axes) and ``places``:
        ``symbol``, ``x``, ``y`` and its ``neighbours``, nearest first, by distance in all directions;
        ``answers``: ``question``, ``answer`` and ``tables`` of ``columns`` and ``rows``.
    """
    found: dict[str, Any] = storage.finite(
        {
            "moves": _records(evidence.calibration_of_moves),
            "directions": _records(evidence.calibration_of_directions),
            "embedding": _embedding(evidence.embedding),
            "answers": [_answer(each) for each in answers],
        }
    )
    return found


def _embedding(vectors: dict[str, list[float]]) -> dict[str, Any] | None:
    if len(vectors) < FEW:
        return None
    symbols, points = list(vectors), np.array(list(vectors.values()), dtype=float)
    positions, shares = principal_axes(vectors)
    return {
        "shares": shares.tolist(),
        "places": [
            {
                "symbol": symbol,
                "x": float(positions[row, 0]),
                "y": float(positions[row, 1]),
                "neighbours": [
                    {"symbol": symbols[other], "distance": distance}
                    for other, distance in _nearest(points, row)
                ],
            }
            for row, symbol in enumerate(symbols)
        ],
    }


def _nearest(points: np.ndarray, row: int) -> list[tuple[int, float]]:
    """Return the nearest points of one point and their distances, nearest first."""
    distances = np.linalg.norm(points[row] - points, axis=1)
    distances[row] = np.inf
    order = np.argsort(distances, kind="stable")[: min(NEAREST, len(points) - 1)]
    return [(int(other), float(distances[other])) for other in order]


def _answer(answer: Answer) -> dict[str, Any]:
    tables = [table for table in (answer.table, answer.second) if table is not None and len(table)]
    return {
        "question": answer.question,
        "answer": answer.answer,
        "tables": [{"columns": list(table.columns), "rows": _split(table)["data"]} for table in tables],
    }


def _split(table: pd.DataFrame) -> dict[str, Any]:
    split: dict[str, Any] = json.loads(table.to_json(orient="split", index=False, double_precision=10))
    return split


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=10))
    return records
