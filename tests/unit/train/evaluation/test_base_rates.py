"""Base rates against counting by hand; nothing after the validation part counts."""

import numpy as np
import pandas as pd
import pytest
from support.releases.release import made_release

from common.network.channels import frozen
from common.prices.panel import Panel
from common.release.learning import windows_until
from common.release.released_models import ReleasedModels
from train.evaluation.base_rates import BASE_RATES, PRIOR, base_rates, with_base_rates


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> ReleasedModels:
    return ReleasedModels(made_release(tmp_path_factory.mktemp("home")))


def test_they_are_the_shares_of_each_stock_drawn_towards_those_of_all(models):
    until = np.datetime64(models.release.info["valid_end"])
    found = base_rates(models.models, models.panel, until).set_index(["symbol", "horizon"])
    windows = windows_until(models.panel, models.models, until)
    still, counts = frozen(windows), {}
    for row in range(len(windows)):
        for place, horizon in enumerate(windows.spec.horizons):
            change = windows.change[row, place]
            if still[row] or not np.isfinite(change) or windows.target_date[row, place] > until:
                continue
            key = windows.series.symbols[windows.symbol[row]], horizon
            counts.setdefault(key, [0, 0, 0])[1 - int(np.sign(change))] += 1
    assert len(counts) > 9
    for (symbol, horizon), count in counts.items():
        every = np.sum([each for (_, other), each in counts.items() if other == horizon], axis=0)
        wanted = (np.array(count) + PRIOR * every / every.sum()) / (sum(count) + PRIOR)
        assert found.loc[(symbol, horizon), BASE_RATES].tolist() == pytest.approx(wanted.tolist())
    assert np.allclose(found[BASE_RATES].sum(axis=1), 1)


def test_later_closes_change_nothing(models):
    until = np.datetime64(models.release.info["valid_end"])
    frame = models.panel.frame
    later = frame["date"] > pd.Timestamp(until)
    planted = frame.assign(close=frame["close"] * np.where(later, 3.0, 1.0))
    panel = Panel.from_frame(planted, models.panel.source)
    pd.testing.assert_frame_equal(*(base_rates(models.models, each, until) for each in (models.panel, panel)))


def test_a_release_stores_them_with_its_test_forecasts(models):
    table = pd.read_parquet(models.release.file("test_forecasts.parquet"))
    rates = base_rates(models.models, models.panel, np.datetime64(models.release.info["valid_end"]))
    pd.testing.assert_frame_equal(table, with_base_rates(table.drop(columns=BASE_RATES), rates))
