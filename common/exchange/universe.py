"""The stocks that are forecast: their names, sectors, tiers and stock ids."""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from common.config import read_toml
from common.errors import ConfigError, UniverseError, UnknownSymbol
from common.exchange.clock import NAIROBI_CLOCK, ExchangeClock

UNIVERSE_FILE = Path(__file__).with_name("universe.toml")
KENYA = "KE"
UNKNOWN_ID = 0
"""The stock id of every symbol outside the universe."""

Tier = Literal["specific", "general"]


@dataclass(frozen=True)
class Stock:
    """One stock of the universe."""

    symbol: str
    name: str
    sector: str
    tier: Tier
    """``specific``: has its own model; ``general``: forecast by the shared model."""
    stock_id: int
    """Embedding index, 1..N in sorted symbol order; 0 is reserved for unknown symbols."""


@dataclass(frozen=True)
class Universe:
    """All stocks in sorted symbol order; build one with `load_universe` or `from_symbols`."""

    stocks: tuple[Stock, ...]
    country: str = KENYA
    """Two-letter code of the country whose public holidays the exchange observes; empty: unknown."""
    clock: ExchangeClock = NAIROBI_CLOCK

    @classmethod
    def from_symbols(
        cls,
        symbols: Sequence[str],
        names: Sequence[str] | None = None,
        sectors: Sequence[str] | None = None,
        specific: Iterable[str] = (),
        where: str = "universe",
        country: str = KENYA,
        clock: ExchangeClock = NAIROBI_CLOCK,
    ) -> Self:
        """Build a universe from parallel lists, in any order.

        Parameters
        ----------
        symbols, names, sectors : sequences of one length
            Names default to the symbols, sectors to ``"Unknown"``.
        specific : symbols with their own model
        where : the source to name in errors

        Raises
        ------
        UniverseError
            If there are no symbols, lists every duplicate, every specific symbol that is not in the universe
            and a country without known holidays.
        """
        names = symbols if names is None else names
        sectors = ["Unknown"] * len(symbols) if sectors is None else sectors
        specific = list(specific)
        if not len(symbols) == len(names) == len(sectors):
            lengths = f"{len(symbols)} symbols, {len(names)} names, {len(sectors)} sectors"
            raise UniverseError(f"{where}: {lengths}; give each symbol one name and one sector.")
        problems = []
        if not len(symbols):
            problems.append("no symbols; list at least one")
        if duplicates := _duplicates(symbols):
            problems.append(f"duplicate symbols {', '.join(duplicates)}; keep one of each")
        if unknown := sorted(set(specific) - set(symbols)):
            problems.append(f"specific but unknown symbols: {', '.join(unknown)}; list or drop them")
        if duplicates := _duplicates(specific):
            problems.append(f"specific twice: {', '.join(duplicates)}")
        if country not in ("", KENYA) and not _has_holidays(country):
            problems.append(f"country: got {country!r}, need two letters such as {KENYA}, or nothing")
        if problems:
            raise UniverseError(f"{where}: {'; '.join(problems)}.", problems=problems)
        rows = sorted(zip(symbols, names, sectors, strict=True))
        return cls(
            tuple(
                Stock(symbol, name, sector, "specific" if symbol in specific else "general", number)
                for number, (symbol, name, sector) in enumerate(rows, start=1)
            ),
            country,
            clock,
        )

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self._by_symbol)

    @cached_property
    def specific(self) -> tuple[Stock, ...]:
        """Stocks with their own model."""
        return tuple(stock for stock in self.stocks if stock.tier == "specific")

    @cached_property
    def general(self) -> tuple[Stock, ...]:
        """Stocks that only the shared model forecasts."""
        return tuple(stock for stock in self.stocks if stock.tier == "general")

    @cached_property
    def is_nairobi(self) -> bool:
        """Whether most stocks are of the shipped universe, so that Nairobi's former symbols apply."""
        shipped = load_universe().symbols if self.country == KENYA else ()
        return 2 * len(set(shipped).intersection(self.symbols)) > len(self.symbols)

    def stock_id(self, symbol: str) -> int:
        """Return the embedding index, `UNKNOWN_ID` for an unknown symbol."""
        stock = self._by_symbol.get(symbol)
        return stock.stock_id if stock else UNKNOWN_ID

    def find(self, symbol: str) -> Stock:
        """Return the stock; raises UnknownSymbol, which suggests the nearest symbols, if there is none."""
        if stock := self._by_symbol.get(symbol):
            return stock
        near = difflib.get_close_matches(symbol.upper(), self.symbols, n=3, cutoff=0.5)
        hint = f"Did you mean {', '.join(near)}?" if near else f"Known: {', '.join(self.symbols[:5])}, ..."
        raise UnknownSymbol(
            f"{symbol}: not one of the {len(self.stocks)} stocks. {hint}", symbol=symbol, near=near
        )

    def check_against(self, panel_symbols: Iterable[str]) -> tuple[str, ...]:
        """Return the symbols of which a panel has no rows."""
        return tuple(sorted(set(self.symbols) - set(panel_symbols)))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `from_dict` reads them."""
        country = {} if self.country == KENYA else {"country": self.country}
        return {"stocks": [asdict(stock) for stock in self.stocks], **country, **self.clock.as_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "universe") -> Self:
        """Rebuild a universe from the result of `as_dict`.

        Raises
        ------
        UniverseError
            If a field is missing, the ids are not 1..N in symbol order, or `ExchangeClock.from_dict` fails.
        """
        try:
            stocks = tuple(Stock(**stock) for stock in values["stocks"])
        except (KeyError, TypeError) as error:
            raise UniverseError(f"{where}: not a saved universe: {error}. Publish it again.") from None
        fields = ("symbol", "name", "sector")
        symbols, names, sectors = ([getattr(stock, field) for stock in stocks] for field in fields)
        specific = [stock.symbol for stock in stocks if stock.tier == "specific"]
        country, clock = values.get("country", KENYA), ExchangeClock.from_dict(values, where)
        universe = cls.from_symbols(symbols, names, sectors, specific, where, country, clock)
        if universe.stocks != stocks:
            raise UniverseError(
                f"{where}: stock ids are not 1..{len(stocks)} in symbol order. Publish it again."
            )
        return universe

    @cached_property
    def _by_symbol(self) -> dict[str, Stock]:
        return {stock.symbol: stock for stock in self.stocks}


def load_universe(path: Path | None = None) -> Universe:
    """Read a universe file, by default that of Nairobi's 66 stocks.

    It has a list ``specific``, a table ``symbol = "name"`` for each sector and optionally the exchange's
    ``country`` (of its public holidays), ``timezone`` and ``closes``, by default Nairobi's.

    Raises
    ------
    UniverseError
        If the file is missing or malformed, and as in `Universe.from_symbols` and `ExchangeClock.from_dict`.
    """
    path = path or UNIVERSE_FILE
    try:
        values = read_toml(path)
    except ConfigError as error:
        raise UniverseError(error.message, path=str(path)) from None
    sectors, specific = values.get("sectors", {}), values.get("specific", [])
    tables = isinstance(sectors, dict) and all(isinstance(table, dict) for table in sectors.values())
    unknown = sorted(set(values) - {"sectors", "specific", "country", "timezone", "closes"})
    if not tables or not isinstance(specific, list) or unknown:
        raise UniverseError(
            f'{path}: need a list `specific` and tables [sectors.NAME] of symbol = "name"'
            + (f"; unknown: {', '.join(unknown)}." if unknown else "."),
            path=str(path),
        )
    rows = [(symbol, name, sector) for sector, table in sectors.items() for symbol, name in table.items()]
    symbols, names, of_sectors = map(list, zip(*rows, strict=True) if rows else ([], [], []))
    country, clock = str(values.get("country", KENYA)), ExchangeClock.from_dict(values, str(path))
    return Universe.from_symbols(symbols, names, of_sectors, specific, str(path), country, clock)


def _has_holidays(country: str) -> bool:
    import holidays  # slow to import, and not needed for Nairobi

    return len(country) == 2 and country in holidays.list_supported_countries()


def _duplicates(values: Iterable[str]) -> list[str]:
    return sorted(value for value, count in Counter(values).items() if count > 1)
