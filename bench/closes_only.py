"""Measure a release's general model for requests that include only closes.

    python bench/closes_only.py [--home DIR] [--release production] [--json]

Forecasts the test windows of every stock twice: with all channels, and with highs, lows, volumes and market
unknown, as in a request with only closes. Prints ratios to naive on the windows that moved.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from machine import facts, header

from common import storage
from common.network.channels import frozen
from common.prices.series import MARKET, Series, series_from_panel
from common.prices.windows import Boundaries, make_windows
from common.release.bundle import GENERAL
from common.release.forecasts import ReleasedModels
from common.release.registry import Registry
from common.scoring.forecast_errors import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", type=Path, help="default: $NSECAST_HOME, else ./nsecast-data")
    parser.add_argument("--release", default="production")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    options = parser.parse_args()
    models = ReleasedModels(Registry(storage.home(options.home)).open(options.release))
    present = set(models.panel.symbols)
    series = series_from_panel(models.panel, tuple(s for s in models.universe.symbols if s in present))
    results = {
        "all channels": test_errors(models, series),
        "closes only": test_errors(models, closes_only(series)),
    }
    if options.json:
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


if __name__ == "__main__":
    main()
