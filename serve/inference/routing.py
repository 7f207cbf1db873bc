"""Which model answers for a symbol: one rule."""

from collections.abc import Collection
from dataclasses import dataclass

from common.errors import UnknownSymbol
from common.exchange.universe import Stock, Universe
from common.presets import SPECIFIC
from common.release.bundle import GENERAL
from serve.schemas.forecast import ModelType


@dataclass(frozen=True)
class Route:
    """The model that answers."""

    symbol: str
    stock: Stock | None
    """None: no counter, answered by the general model with stock id 0."""
    model_type: ModelType
    job: str
    """Name of the bundle: the symbol, or ``"general"``."""


def route(
    symbol: str,
    universe: Universe,
    good: Collection[str],
    *,
    allow_unknown: bool = False,
    brings_prices: bool = False,
) -> Route:
    """The stock's own model if it is of the specific tier and its bundle is good, else the general one.

    Parameters
    ----------
    good : symbols whose own bundle is in the release and not known to be bad
    allow_unknown, brings_prices : a symbol that is no counter goes to the general model if both hold

    Raises
    ------
    UnknownSymbol
        For any other symbol that is no counter; near names are in its context, ``near``.
    """
    try:
        stock = universe.find(symbol)
    except UnknownSymbol as error:
        if allow_unknown and brings_prices:
            return Route(symbol, None, GENERAL, GENERAL)
        hint = " With allow_unknown, send recent_prices too." if allow_unknown else ""
        raise UnknownSymbol(error.message + hint, **error.context) from None
    if stock.tier == "specific" and symbol in good:
        return Route(symbol, stock, SPECIFIC, symbol)
    return Route(symbol, stock, GENERAL, GENERAL)
