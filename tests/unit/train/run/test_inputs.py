"""Refusals of the commands that train, before anything is trained."""

import pytest
from support.prices.panel import made_panel

from common.errors import UniverseError
from common.exchange.universe import load_universe
from train.run.inputs import check_universe


def test_stocks_of_another_market_are_named_beside_the_universes():
    with pytest.raises(UniverseError) as caught:
        check_universe(load_universe(None), made_panel(), (), strict=False)
    assert "stocks (ABSA, ARM, BAMB, ...) is in the data (FROZEN, GAPS, MOVES, ...)" in caught.value.message
    assert "--universe FILE.toml" in caught.value.message


def test_a_misspelt_specific_stock_is_answered_with_those_there_are():
    with pytest.raises(UniverseError, match=r"not specific stocks: SCOMM\. Specific are: .*SCOM"):
        check_universe(load_universe(None), made_panel(), ("SCOMM",), strict=False)
