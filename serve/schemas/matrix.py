"""The performance matrix of a release."""

import csv
import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, get_args

from common.errors import BundleError
from common.forecast.confidence import ConfidenceRating
from serve.schemas.forecast import Horizon, MapeSource, Model, Source

if TYPE_CHECKING:  # the client works without the packages that read releases
    from common.release.manifest import Release


class HorizonErrors(Model):
    """Errors of one stock and horizon on the test part; null if not measured."""

    n: int
    """Number of forecasts scored."""
    mae: float | None
    """Mean absolute error of the published price, KES. ``naive_mae``: of the last price."""
    naive_mae: float | None
    mape: float | None
    """The same as a percentage of the actual price."""
    naive_mape: float | None
    rel_mae: float | None
    """Absolute error of the published price relative to the naive forecast, both as a percentage of the last
    price; below 1 is better."""
    rel_rmse: float | None
    """The same for the root of the squared error of the mean price."""
    skill: float | None
    """1 - ``rel_mae``."""
    cover90: float | None
    """Share of actual prices inside the 90 % interval."""
    brier: float | None = None
    """Brier score of the probabilities of a rise, no change and a fall, and its skill against the stock's
    base rates; null in releases without these probabilities."""
    brier_skill: float | None = None
    brier_up: float | None = None
    """The same of a rise against everything else."""
    brier_up_skill: float | None = None
    forecast_source: Source | None

    @property
    def skilled(self) -> bool:
        """Whether the published and the mean price both beat the naive forecast."""
        return all(ratio is not None and ratio < 1 for ratio in (self.rel_mae, self.rel_rmse))


class MatrixRow(Model):
    """One stock of the performance matrix."""

    symbol: str
    name: str
    sector: str
    tier: Literal["specific", "general"]
    model: str
    """``general``, or the kind of its own model: ``average``, ``finetuned`` or ``scratch``."""
    rank: int | None
    """1 is the best by the mean of ``rel_mae`` and ``rel_rmse`` at the shortest horizon."""
    confidence: ConfidenceRating
    """At the shortest horizon and the end of the data."""
    reasons: str
    flags: str
    horizons: dict[Horizon, HorizonErrors]


class MatrixPage(Model):
    """The performance matrix: errors of every stock and horizon beside the naive forecast."""

    release: str
    synthetic: bool
    source: str
    test_from: dt.date
    test_to: dt.date
    rows: list[MatrixRow]


def read_matrix(release: "Release") -> dict[str, MatrixRow]:
    """Read the performance matrix of a release by symbol; raises BundleError if the file is damaged."""
    path = release.file("performance_matrix.csv")
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return {row["symbol"]: _matrix_row(row) for row in csv.DictReader(stream)}
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{path}: {type(error).__name__}: {error}. Publish the release again.") from None


def pooled_mape(rows: Iterable[MatrixRow], horizon: Horizon) -> tuple[float | None, MapeSource | None]:
    """Return the MAPE over all forecasts of the general model, else of all models."""
    figures = [(row.model, row.horizons[horizon]) for row in rows if horizon in row.horizons]
    known = [(model, errors.mape, errors.n) for model, errors in figures if errors.mape is not None]
    general = [(mape, n) for model, mape, n in known if model == "general" and n]
    chosen = general or [(mape, n) for _, mape, n in known if n]
    if not chosen:
        return None, None
    return sum(mape * n for mape, n in chosen) / sum(n for _, n in chosen), "general" if general else "all"


def _matrix_row(row: dict[str, str]) -> MatrixRow:
    def number(name: str) -> float | None:
        return float(row[name]) if row.get(name) else None

    def measured(horizon: str) -> HorizonErrors:
        names = (
            *("mae", "naive_mae", "mape", "naive_mape", "rel_mae", "rel_rmse", "cover90"),
            *("brier", "brier_skill", "brier_up", "brier_up_skill"),
        )
        figures = {name: number(f"{name}_{horizon}") for name in names}
        ratio = figures["rel_mae"]
        return HorizonErrors.model_validate(
            figures
            | {
                "n": int(number(f"n_{horizon}") or 0),
                "skill": None if ratio is None else 1 - ratio,
                "forecast_source": row.get(f"source_{horizon}") or None,
            }
        )

    texts = ("symbol", "name", "sector", "tier", "model", "confidence", "reasons", "flags")
    rank = number("rank")
    return MatrixRow.model_validate(
        {name: row[name] for name in texts}
        | {
            "rank": None if rank is None else int(rank),
            "horizons": {
                horizon: measured(horizon) for horizon in get_args(Horizon) if f"n_{horizon}" in row
            },
        }
    )
