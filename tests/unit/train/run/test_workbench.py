"""Which stock id a job's networks see for a stock."""

from pathlib import Path

import pytest
from support.panel import SYMBOLS, made_panel

from common.exchange.universe import Universe
from common.network.channels import frozen
from common.presets import train_config
from common.release.bundle import GENERAL
from train.run.dataset import RunDataset, RunSpec

PANEL = made_panel()
UNIVERSE = Universe.from_symbols(SYMBOLS, specific=SYMBOLS[:1])
OWN, OTHER = SYMBOLS[0], SYMBOLS[1]


def bench(preset: str, **overrides: object) -> RunDataset:
    config = train_config(preset, {"window": {"size": 12, "horizons": [1]}, **overrides})
    return RunDataset(Path("nowhere"), RunSpec(config, UNIVERSE, PANEL.source, PANEL.fingerprint()), PANEL)


def ids(found: RunDataset, job: str) -> dict[str, int]:
    windows = found.windows
    column = found.ids(windows, job)[:, 0]
    return {
        windows.series.symbols[place]: int(number)
        for place, number in zip(windows.symbol, column, strict=True)
    }


def test_a_general_model_that_saw_every_stock_knows_every_id():
    found = ids(bench("residual"), GENERAL)
    assert found.pop("FROZEN") == 0, "nothing is trained on a stock that never moves"
    assert len(found) > 2 and found == {symbol: UNIVERSE.stock_id(symbol) for symbol in found}


def test_to_a_general_model_that_never_saw_a_stock_it_is_unknown():
    found = ids(bench("v4_log"), GENERAL)
    assert found[OWN] == 0 and found[OTHER] == UNIVERSE.stock_id(OTHER)


def test_a_model_from_scratch_knows_its_own_stock():
    assert ids(bench("v4_log"), OWN)[OWN] == UNIVERSE.stock_id(OWN)


def test_a_model_fine_tuned_from_one_that_never_saw_its_stock_starts_from_unknown():
    assert ids(bench("residual", general_sees="general"), OWN)[OWN] == 0


@pytest.mark.parametrize("preset", ["residual", "v4_log"])
def test_a_general_model_is_trained_on_the_stocks_it_has_ids_of_and_on_no_other(preset):
    found = bench(preset)
    train, _, _ = found.parts_of(GENERAL, training=True)
    moving = train.take(~frozen(train))
    assert {train.series.symbols[place] for place in moving.symbol} == set(found.stock_ids(GENERAL))
