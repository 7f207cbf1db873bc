"""Measure the general model of a release: requests with only closes, or its two ways to the raw price.

    python bench/general_model.py closes [--home DIR] [--release production] [--json]
    python bench/general_model.py raw [--home DIR] [--release production]

*closes* forecasts the test windows of every stock twice: with all channels, and with highs, lows, volumes and
market unknown, as in a request with only closes. Prints ratios to naive on the windows that moved.

*raw* compares the network's own mean head with the mean of its mixture by squared error, on the validation
part (where nothing was fitted; epochs were chosen there by the total loss): relRMSE, over the last price's,
of the price at the Huber head's change, and of the price at the mixture's mean, p_move times the integral of
the quantile function (linear in the normal score between and beyond the eleven levels, as in
`common.network.mixture`). *Noise* is the standard error of their difference with the days as the sample.
Windows without a move are left out.
"""

import argparse
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from machine import facts, header
from scipy.special import ndtri
from scipy.stats import norm

from common import storage
from common.network.channels import CLIP, frozen, sigma
from common.network.mixture import TAUS, Mixture
from common.presets import TrainConfig
from common.prices.market_days import MARKET
from common.prices.series import Series, series_from_panel
from common.prices.windows import Boundaries, Windows, make_windows
from common.release.bundle import GENERAL
from common.release.manifest import Release
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from common.scoring.forecast_errors import errors
from common.scoring.significance import ratio_noise
from train.run.dataset import RunDataset, RunSpec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["closes", "raw"])
    parser.add_argument("--home", type=Path, help="default: $NSECAST_HOME, else ./nsecast-data")
    parser.add_argument("--release", default="production")
    parser.add_argument("--json", action="store_true", help="JSON on stdout, for the closes")
    options = parser.parse_args()
    registry = Registry(storage.home(options.home))
    if options.what == "closes":
        closes(ReleasedModels(registry.open(options.release)), as_json=options.json)
    else:
        raw(registry.resolve(options.release))


def closes(models: ReleasedModels, *, as_json: bool) -> None:
    """Print the errors of all channels and of the closes alone."""
    present = set(models.panel.symbols)
    series = series_from_panel(models.panel, tuple(s for s in models.universe.symbols if s in present))
    results = {
        "all channels": test_errors(models, series),
        "closes only": test_errors(models, closes_only(series)),
    }
    if as_json:
        print(json.dumps({"machine": facts(), "release": models.release.id, "errors": results}, indent=1))
        return
    print(f"{header(facts())}\n{models.release.id}, data {models.panel.source}, the general model alone\n")
    for name, horizons in results.items():
        cells = [f"{h} d {e['rel_mae']:.3f} / {e['rel_rmse']:.3f}" for h, e in horizons.items()]
        print(f"{name:<13} relMAE / relRMSE: {'   '.join(cells)}")


def closes_only(series: Series) -> Series:
    """The same series with everything but the closes unknown."""
    nothing = np.full(len(series.close), np.nan, dtype=np.float32)
    hidden = ("log_high", "log_low", "log_volume", *MARKET)
    return replace(series, **dict.fromkeys(hidden, nothing))


def test_errors(models: ReleasedModels, series: Series) -> dict[int, dict[str, float]]:
    """Errors on the release's test part by horizon."""
    bundle, info = models.bundle(GENERAL), models.release.info
    limits = Boundaries(*(np.datetime64(info[name]) for name in ("train_end", "valid_end", "test_end")))
    test = limits.parts(make_windows(series, bundle.window))[2]
    test = test.take(~frozen(test))
    prices = bundle.forecaster.forecast(test)
    return {
        horizon: errors(
            last=prices.last,
            raw=prices.raw[:, place],
            published=prices.published[:, place],
            actual=test.actual[:, place],
        ).as_dict()
        for place, horizon in enumerate(bundle.window.horizons)
    }


def raw(release: Release) -> None:
    """Print the errors of both ways to the raw price."""
    print(header(facts()))
    print(f"{release.id}: validation, targets {release.info['train_end']} to {release.info['valid_end']}\n")
    windows, outputs = _validation(ReleasedModels(release))
    mixture = Mixture.from_outputs(outputs)
    changes = {"Huber head": mixture.mean, "mixture's mean": mixture_mean(mixture)}
    scale = sigma(windows)[:, None] * np.sqrt(windows.spec.horizons)
    prices = {
        name: windows.last_price[:, None] * np.exp(scale * np.clip(change, -CLIP, CLIP))
        for name, change in changes.items()
    }
    print("| days | forecasts | days of validation | Huber head | mixture's mean | difference | noise |")
    print("|---|---|---|---|---|---|---|")
    for place, horizon in enumerate(windows.spec.horizons):
        print(_row(windows, {name: price[:, place] for name, price in prices.items()}, place, horizon))


def mixture_mean(mixture: Mixture) -> np.ndarray:
    """Expected change, shape (N, H)."""
    return mixture.p_move * (mixture.quantiles @ quantile_weights())


def quantile_weights() -> np.ndarray:
    """Weight of each stored quantile in the mean of a move, shape (11,): the integral over each segment."""
    z = ndtri(TAUS)
    edges = np.concatenate([[-np.inf], z[1:-1], [np.inf]])  # the outer segments reach beyond their levels
    weights = np.zeros(len(z))
    for left, (low, high) in enumerate(pairwise(edges)):
        share, first = norm.cdf(high) - norm.cdf(low), norm.pdf(low) - norm.pdf(high)
        slope = (first - z[left] * share) / (z[left + 1] - z[left])
        weights[left] += share - slope
        weights[left + 1] += slope
    return weights


def _validation(models: ReleasedModels) -> tuple[Windows, np.ndarray]:
    config = TrainConfig.parse(
        json.loads(models.release.file("config.json").read_bytes()), where="config.json"
    )
    spec = RunSpec(config, models.universe, models.panel.source, models.panel.fingerprint())
    valid = RunDataset(Path(), spec, models.panel).parts[1]
    valid = valid.take(~frozen(valid))
    return valid, models.models.outputs(valid, general_only=True)


def _row(windows: Windows, prices: dict[str, np.ndarray], place: int, horizon: int) -> str:
    last, actual = windows.last_price, windows.actual[:, place]
    known = np.isfinite(actual)
    last, actual, days = last[known], actual[known], windows.cutoff[known]
    naive = ((last - actual) / last) ** 2
    squares = [((price[known] - actual) / last) ** 2 for price in prices.values()]
    roots = [float(np.sqrt(square.sum() / naive.sum())) for square in squares]
    linear = squares[1] / (2 * roots[1]) - squares[0] / (2 * roots[0])
    noise = ratio_noise(linear, naive, days, horizon=horizon)
    cells = f"{roots[0]:.4f} | {roots[1]:.4f} | {roots[1] - roots[0]:+.4f} | {noise:.4f}"
    return f"| {horizon} | {known.sum():,} | {len(np.unique(days))} | {cells} |"


if __name__ == "__main__":
    main()
