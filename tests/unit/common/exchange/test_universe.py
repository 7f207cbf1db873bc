"""The stocks that are forecast."""

import json

import pytest

from common.errors import UniverseError, UnknownSymbol
from common.exchange.universe import Universe, load_universe

SPECIFIC = {
    *("SCOM", "EQTY", "KCB", "COOP", "ABSA", "SCBK", "EABL", "BAT", "UNGA", "BRIT"),
    *("JUB", "CIC", "BAMB", "ARM", "NMG"),
}


@pytest.fixture(scope="module")
def universe():
    return load_universe()


def test_the_exchange_has_66_stocks_15_of_them_specific(universe):
    assert (len(universe.stocks), len(universe.specific), len(universe.general)) == (66, 15, 51)
    assert {stock.symbol for stock in universe.specific} == SPECIFIC


def test_stocks_below_a_stray_section_title_keep_their_true_sector(universe):
    for symbol in ("KEGN", "KPLC", "KPLC-P4", "KPLC-P7", "TOTL", "UMME"):
        assert universe.find(symbol).sector == "Energy and Petroleum"
    assert universe.find("GLD").sector == "Exchange Traded Funds"
    assert universe.find("LAPR").sector == "Investment"


def test_stock_ids_count_from_one_in_symbol_order_and_zero_is_unknown(universe):
    assert [universe.stock_id(symbol) for symbol in sorted(universe.symbols)] == list(range(1, 67))
    assert universe.stock_id("NOPE") == 0


def test_an_unknown_symbol_is_answered_with_near_ones(universe):
    with pytest.raises(UnknownSymbol, match=r"SCOMM: not one of the 66 stocks\. Did you mean SCOM"):
        universe.find("SCOMM")


def test_stocks_missing_from_a_panel_are_named(universe):
    assert universe.check_against(set(universe.symbols) - {"SCOM", "BAT"} | {"^NASI"}) == ("BAT", "SCOM")


def test_the_order_of_the_symbols_does_not_matter():
    one = Universe.from_symbols(["B", "A"], ["Bee", "Ay"], ["x", "y"], ["B"])
    two = Universe.from_symbols(["A", "B"], ["Ay", "Bee"], ["y", "x"], ["B"])
    assert one == two and one.find("B").tier == "specific"


def test_every_doubled_and_every_foreign_symbol_is_named():
    with pytest.raises(UniverseError) as caught:
        Universe.from_symbols(["A", "A", "B", "C", "C"], specific=["Z", "Y", "B", "B"])
    message = caught.value.message
    assert "duplicate symbols A, C;" in message
    assert "specific but unknown symbols: Y, Z;" in message
    assert "specific twice: B" in message


def test_an_empty_universe_is_refused():
    with pytest.raises(UniverseError, match="no symbols"):
        Universe.from_symbols([])


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(UniverseError, match="2 symbols, 1 names"):
        Universe.from_symbols(["A", "B"], ["Ay"])


def test_a_universe_survives_json(universe):
    assert Universe.from_dict(json.loads(json.dumps(universe.as_dict()))) == universe


@pytest.mark.parametrize("values", [{}, {"stocks": [{"symbol": "A"}]}, {"stocks": 3}])
def test_something_else_is_not_taken_for_a_saved_universe(values):
    with pytest.raises(UniverseError, match="not a saved universe"):
        Universe.from_dict(values)


def test_saved_stock_ids_out_of_order_are_refused(universe):
    values = universe.as_dict()
    values["stocks"][0]["stock_id"] = 7
    with pytest.raises(UniverseError, match="stock ids are not"):
        Universe.from_dict(values)


def test_a_symbol_in_two_sectors_is_named_with_the_file(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text('specific = ["A"]\n[sectors.x]\nA = "Ay"\n[sectors.y]\nA = "Ay"\nB = "Bee"\n')
    with pytest.raises(UniverseError, match=r"my\.toml: duplicate symbols A;"):
        load_universe(path)


@pytest.mark.parametrize(
    "text", ["specific = 3", "sectors = 3", 'colour = "red"', "[sectors.x]\nA = 'a'\nA = 'b'", "?"]
)
def test_a_malformed_universe_file_is_named(tmp_path, text):
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(UniverseError, match=r"my\.toml"):
        load_universe(path)


def test_a_symbol_doubled_inside_one_sector_is_named(tmp_path):
    (tmp_path / "universe.toml").write_text('specific = []\n[sectors.X]\nABC = "a"\nABC = "b"\n')
    with pytest.raises(UniverseError, match=r'universe\.toml: .*line 4.*ABC = "b"'):
        load_universe(tmp_path / "universe.toml")


def test_a_missing_universe_file_is_named(tmp_path):
    with pytest.raises(UniverseError, match=r"gone\.toml: no such file"):
        load_universe(tmp_path / "gone.toml")
