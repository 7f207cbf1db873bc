"""Stocks by whatever people write."""

import pytest

from common.errors import UnknownSymbol
from common.exchange.names import find_stock
from common.exchange.symbols import renamed_symbols
from common.exchange.universe import Universe, load_universe

UNIVERSE = load_universe()


@pytest.mark.parametrize(
    "text",
    [
        "SCOM",
        "scom",
        "  SCOM ",
        "NSE:SCOM",
        "nseke: scom",
        "SCOM.NR",
        "scom.ke",
        "Safaricom",
        "SAFARICOM PLC",
    ],
)
def test_a_stock_has_many_spellings(text):
    found = find_stock(text, UNIVERSE)
    assert (found.stock.symbol, found.former) == ("SCOM", None)


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("NSE", "NSE"),
        ("I&M", "IMH"),
        ("co-op bank", "COOP"),
        ("Co-operative Bank of Kenya", "COOP"),
        ("kenya re", "KNRE"),
        ("car & general", "CGEN"),
        ("Standard Group", "SGL"),
        ("kplc p4", "KPLC-P4"),
        ("British American Tobacco", "BAT"),
    ],
)
def test_a_company_is_found_by_its_name(text, symbol):
    assert find_stock(text, UNIVERSE).stock.symbol == symbol


def test_every_stock_is_found_by_its_full_name():
    assert [find_stock(stock.name, UNIVERSE).stock for stock in UNIVERSE.stocks] == list(UNIVERSE.stocks)


@pytest.mark.parametrize(("old", "new"), renamed_symbols().items())
def test_a_former_symbol_leads_to_the_present_one_and_says_so(old, new):
    found = find_stock(f"NSE:{old.lower()}", UNIVERSE)
    assert (found.stock.symbol, found.former) == (new, old)


@pytest.mark.parametrize(("text", "count"), [("KENYA", 19), ("BANK", 5), ("standard", 2)])
def test_a_name_of_several_companies_lists_them(text, count):
    with pytest.raises(UnknownSymbol, match=f"{count} stocks have such a name") as caught:
        find_stock(text, UNIVERSE)
    names = [stock.symbol for stock in UNIVERSE.stocks if text.upper() in stock.name.upper()]
    assert caught.value.context["near"] == names[:10]


@pytest.mark.parametrize("text", ["Insurance", "insurance ", "Investment"])
def test_a_sector_with_several_stocks_is_none_of_them(text):
    with pytest.raises(UnknownSymbol, match="stocks have such a name or sector") as caught:
        find_stock(text, UNIVERSE)
    sector = [stock.symbol for stock in UNIVERSE.stocks if stock.sector == text.strip().capitalize()]
    assert caught.value.context["near"] == sector[:10]


@pytest.mark.parametrize(
    ("text", "first", "said"),
    [
        ("SAFARICON", "SCOM", "Did you mean SCOM"),
        ("Equity Bank", "EQTY", "Equity Group Holdings"),
        ("Standard Bank", "SBIC", r"Stanbic Holdings Plc\), SCBK \(Standard Chartered"),
        ("East African Cement", "PORT", "East African Portland Cement"),
        ("KCB-R", "KCB", "rights"),
        ("SCMO", "SCOM", "Safaricom"),
    ],
)
def test_a_name_that_is_nearly_right_gets_candidates(text, first, said):
    with pytest.raises(UnknownSymbol, match=said) as caught:
        find_stock(text, UNIVERSE)
    assert caught.value.context["near"][0] == first and "ARM" not in caught.value.context["near"]


@pytest.mark.parametrize(
    "text", ["", " ", "PLC", "a", "&", ".KE", "NSE:", "x" * 10_000, "SCOM.NR.NR", "NSE:NSE:SCOM"]
)
def test_what_names_no_stock_finds_none(text):
    with pytest.raises(UnknownSymbol):
        find_stock(text, UNIVERSE)


def test_a_delisted_share_is_named_as_such():
    with pytest.raises(UnknownSymbol, match=r"no longer listed \(KenolKobil"):
        find_stock("keno", UNIVERSE)


@pytest.mark.parametrize("text", ["NIC", "KENO", "KCB-R"])
def test_former_and_delisted_symbols_of_nairobi_are_not_those_of_another_exchange(text):
    other = Universe.from_symbols(["NCBA", "KCB", "ABC", "XYZ", "MOVES"])
    with pytest.raises(UnknownSymbol) as caught:
        find_stock(text, other)
    assert "no longer listed" not in caught.value.message and "rights" not in caught.value.message
    nairobi = Universe.from_symbols(["NCBA", "KCB", "SCOM", "NEW"])
    assert find_stock("NIC", nairobi).stock.symbol == "NCBA"


def test_symbols_of_the_universe_come_first_and_beginnings_of_symbols_are_no_names():
    universe = Universe.from_symbols(["BBK", "SCOM.KE", "MOVES"])
    assert find_stock("bbk", universe).former is None
    assert find_stock("scom.ke", universe).stock.symbol == "SCOM.KE"
    with pytest.raises(UnknownSymbol, match="Did you mean MOVES"):
        find_stock("MOVE", universe)
    with pytest.raises(UnknownSymbol):
        find_stock("Safaricom", UNIVERSE, by_name=False)
