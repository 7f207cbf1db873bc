"""The rule that chooses a model, as a table."""

import itertools

import pytest

from common.errors import UnknownSymbol
from common.exchange.universe import Universe
from serve.inference.routing import route

UNIVERSE = Universe.from_symbols(["EQTY", "KCB", "SCOM"], specific=["SCOM", "KCB"])
GOOD = frozenset({"SCOM", "EQTY"})
"""KCB's own bundle is bad; EQTY is of the general tier, so that a bundle of its own would not count."""
EXPECTED = {
    # symbol: (allow_unknown, has_prices) -> the job, or None for a refusal
    "SCOM": {(False, False): "SCOM", (False, True): "SCOM", (True, False): "SCOM", (True, True): "SCOM"},
    "KCB": {(a, b): "general" for a, b in itertools.product((False, True), repeat=2)},
    "EQTY": {(a, b): "general" for a, b in itertools.product((False, True), repeat=2)},
    "SCMO": {(False, False): None, (False, True): None, (True, False): None, (True, True): "general"},
}
CASES = [
    (symbol, allow, brings, job) for symbol, row in EXPECTED.items() for (allow, brings), job in row.items()
]


@pytest.mark.parametrize(("symbol", "allow", "brings", "job"), CASES)
def test_the_truth_table_holds(symbol, allow, brings, job):
    if job is None:
        with pytest.raises(UnknownSymbol):
            route(symbol, UNIVERSE, GOOD, allow_unknown=allow, has_prices=brings)
        return
    tier = route(symbol, UNIVERSE, GOOD, allow_unknown=allow, has_prices=brings)
    assert (tier.symbol, tier.job) == (symbol, job)
    assert tier.model_type == ("general" if job == "general" else "stock_specific")
    assert (tier.stock.symbol if tier.stock else None) == (symbol if symbol in UNIVERSE.symbols else None)


def test_an_unknown_symbol_is_refused_with_near_names_and_the_way_out():
    with pytest.raises(UnknownSymbol, match=r"Did you mean SCOM\?") as caught:
        route("SCMO", UNIVERSE, GOOD)
    assert caught.value.http_status == 404 and caught.value.context["near"] == ["SCOM"]
    assert "recent_prices" not in caught.value.message
    with pytest.raises(UnknownSymbol, match="send recent_prices too"):
        route("SCMO", UNIVERSE, GOOD, allow_unknown=True)


def test_a_symbol_becomes_specific_when_its_bundle_is_good_again():
    assert route("KCB", UNIVERSE, GOOD).job == "general"
    assert route("KCB", UNIVERSE, GOOD | {"KCB"}).job == "KCB"
