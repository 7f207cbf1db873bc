"""Renamed, delisted and rights: the symbols that are not, or no longer, those of a listed share."""

import pytest

from common.exchange.symbols import delisted_symbols, no_share, renamed, renamed_symbols
from common.exchange.universe import load_universe


def test_every_former_symbol_leads_to_a_listed_stock_and_is_none_itself():
    symbols = set(load_universe().symbols)
    assert set(renamed_symbols().values()) <= symbols
    assert not symbols & (set(renamed_symbols()) | set(delisted_symbols()))


def test_a_former_symbol_is_found_in_any_case_and_a_present_one_is_not():
    assert renamed("bbk") == renamed("BBK") == "ABSA"
    assert [old for old, new in renamed_symbols().items() if new in ("ABSA", "SCOM")] == ["BBK"]
    assert renamed("ABSA") is None and renamed("NOPE") is None


@pytest.mark.parametrize(
    ("symbol", "reason"), [("KENO", "delisted"), ("KCB-R", "rights"), ("SCOM", None), ("KPLC-P4", None)]
)
def test_delisted_shares_and_rights_are_named_as_such(symbol, reason):
    assert no_share(symbol) == reason
