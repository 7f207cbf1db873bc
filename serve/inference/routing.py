"""The rule that chooses the model for a symbol."""

from collections.abc import Collection
from dataclasses import dataclass

from common.errors import UnknownSymbol
from common.exchange.names import find_stock
from common.exchange.universe import Stock, Universe
from common.presets import SPECIFIC
from common.release.bundle import GENERAL
from serve.schemas.forecast import ModelType


@dataclass(frozen=True)
class Route:
    """The model chosen for a symbol."""

    symbol: str
    """Of ``stock``; without one, as requested."""
    stock: Stock | None
    """None: an unknown symbol, for the general model with stock id 0."""
    model_type: ModelType
    job: str
    """Name of the bundle: the symbol, or ``"general"``."""
    former: str | None = None
    """The former symbol that was requested."""


def route(
    symbol: str,
    universe: Universe,
    loadable: Collection[str],
    *,
    allow_unknown: bool = False,
    has_prices: bool = False,
) -> Route:
    """Choose the stock's own model if it is of the specific tier and loadable, else the general model.

    Parameters
    ----------
    symbol : as `find_stock` accepts it; with ``allow_unknown`` and ``has_prices``, names are not searched
    loadable : symbols whose own bundle is in the release and did not fail
    allow_unknown, has_prices : if both hold, an unknown symbol goes to the general model

    Raises
    ------
    UnknownSymbol
        For any other unknown symbol; similar symbols are in its context, ``near``.
    """
    try:
        found = find_stock(symbol, universe, by_name=not (allow_unknown and has_prices))
    except UnknownSymbol as error:
        if allow_unknown and has_prices:
            return Route(symbol, None, GENERAL, GENERAL)
        hint = " With allow_unknown, send recent_prices too." if allow_unknown else ""
        raise UnknownSymbol(error.message + hint, **error.context) from None
    stock = found.stock
    if stock.tier == "specific" and stock.symbol in loadable:
        return Route(stock.symbol, stock, SPECIFIC, stock.symbol, found.former)
    return Route(stock.symbol, stock, GENERAL, GENERAL, found.former)
