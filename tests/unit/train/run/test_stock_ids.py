"""The stock ids that a job's networks get."""

from pathlib import Path

import pytest
from support.prices.panel import SYMBOLS, made_panel

from common.exchange.universe import Universe
from common.network.channels import frozen
from common.presets import train_config
from common.prices.windows import id_column
from common.release.bundle import GENERAL
from train.run.dataset import RunDataset, RunSpec

PANEL = made_panel()
UNIVERSE = Universe.from_symbols(SYMBOLS, specific=SYMBOLS[:1])
OWN, OTHER = SYMBOLS[0], SYMBOLS[1]


def dataset_of(preset: str, **overrides: object) -> RunDataset:
    config = train_config(preset, {"window": {"size": 12, "horizons": [1]}, **overrides})
    return RunDataset(Path("nowhere"), RunSpec(config, UNIVERSE, PANEL.source, PANEL.fingerprint()), PANEL)


def ids(dataset: RunDataset, job: str) -> dict[str, int]:
    windows = dataset.windows
    column = id_column(windows, dataset.stock_ids(job))[:, 0]
    names = [windows.series.symbols[position] for position in windows.symbol]
    return dict(zip(names, column.tolist(), strict=True))


def test_a_general_model_trained_on_every_stock_has_every_id():
    stock_ids = ids(dataset_of("residual"), GENERAL)
    assert stock_ids.pop("FROZEN") == 0, "no network is trained on a stock that never moves"
    assert len(stock_ids) > 2
    assert stock_ids == {symbol: UNIVERSE.stock_id(symbol) for symbol in stock_ids}


def test_a_stock_that_a_general_model_was_not_trained_on_is_unknown():
    stock_ids = ids(dataset_of("v4_log"), GENERAL)
    assert stock_ids[OWN] == 0 and stock_ids[OTHER] == UNIVERSE.stock_id(OTHER)


def test_a_model_from_scratch_has_the_id_of_its_own_stock():
    assert ids(dataset_of("v4_log"), OWN)[OWN] == UNIVERSE.stock_id(OWN)


def test_a_fine_tuned_model_starts_from_unknown_if_the_general_one_lacked_its_stock():
    assert ids(dataset_of("residual", general_sees="general"), OWN)[OWN] == 0


@pytest.mark.parametrize("preset", ["residual", "v4_log"])
def test_a_general_model_is_trained_on_exactly_the_stocks_that_it_has_ids_of(preset):
    dataset = dataset_of(preset)
    train, _, _ = dataset.parts_of(GENERAL, training=True)
    moving = train.take(~frozen(train))
    assert {train.series.symbols[position] for position in moving.symbol} == set(dataset.stock_ids(GENERAL))
