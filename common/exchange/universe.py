"""The counters that are forecast: their names, sectors, tiers and stock ids."""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from common.config import read_toml
from common.errors import ConfigError, UniverseError, UnknownSymbol
from common.exchange.clock import NAIROBI, ExchangeClock

UNIVERSE_FILE = Path(__file__).with_name("universe.toml")
KENYA = "KE"
UNKNOWN_ID = 0
"""The stock id of every symbol outside the universe."""

Tier = Literal["specific", "general"]


@dataclass(frozen=True)
class Stock:
    """One counter."""

    symbol: str
    """Public ticker."""
    name: str
    sector: str
    tier: Tier
    """``specific``: has a model of its own; ``general``: forecast by the shared one."""
    stock_id: int
    """Embedding index, 1..N in sorted symbol order; 0 is kept for unknown symbols."""


@dataclass(frozen=True)
class Universe:
    """All counters in sorted symbol order; build one with `load_universe` or `from_symbols`."""

    stocks: tuple[Stock, ...]
    country: str = KENYA
    """Whose public holidays close the exchange, as two letters; empty: none are known."""
    clock: ExchangeClock = NAIROBI
    """Of the exchange."""

    @classmethod
    def from_symbols(
        cls,
        symbols: Sequence[str],
        names: Sequence[str] | None = None,
        sectors: Sequence[str] | None = None,
        specific: Iterable[str] = (),
        where: str = "universe",
        country: str = KENYA,
        clock: ExchangeClock = NAIROBI,
    ) -> Self:
        """Build a universe from parallel lists.

        Parameters
        ----------
        symbols, names, sectors : sequences of one length
            Names default to the symbols, sectors to ``"Unknown"``; the order does not matter.
        specific : iterable of str
            Symbols with a model of their own.
        where : str
            Named in errors.
        country, clock
            As in `Universe`.

        Raises
        ------
        UniverseError
            Naming every doubled symbol, every specific one that is doubled or no counter, and a country
            whose holidays nobody knows, or saying that there is no symbol at all.
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
        if doubled := _doubled(symbols):
            problems.append(f"doubled symbols {', '.join(doubled)}; keep one of each")
        if strangers := sorted(set(specific) - set(symbols)):
            problems.append(f"specific but not counters: {', '.join(strangers)}; list or drop them")
        if doubled := _doubled(specific):
            problems.append(f"specific twice: {', '.join(doubled)}")
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
        """Those with a model of their own."""
        return tuple(stock for stock in self.stocks if stock.tier == "specific")

    @cached_property
    def general(self) -> tuple[Stock, ...]:
        """Those forecast by the shared model only."""
        return tuple(stock for stock in self.stocks if stock.tier == "general")

    def stock_id(self, symbol: str) -> int:
        """The embedding index, `UNKNOWN_ID` for a symbol that is no counter."""
        stock = self._by_symbol.get(symbol)
        return stock.stock_id if stock else UNKNOWN_ID

    def find(self, symbol: str) -> Stock:
        """The counter of that symbol.

        Raises
        ------
        UnknownSymbol
            If there is none; the nearest symbols are suggested.
        """
        if stock := self._by_symbol.get(symbol):
            return stock
        near = difflib.get_close_matches(symbol.upper(), self.symbols, n=3, cutoff=0.5)
        hint = f"Did you mean {', '.join(near)}?" if near else f"Known: {', '.join(self.symbols[:5])}, ..."
        raise UnknownSymbol(
            f"{symbol}: not one of the {len(self.stocks)} counters. {hint}", symbol=symbol, near=near
        )

    def check_against(self, panel_symbols: Iterable[str]) -> tuple[str, ...]:
        """The counters that a panel has no row of."""
        present = set(panel_symbols)
        return tuple(symbol for symbol in self.symbols if symbol not in present)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        elsewhere = {} if self.country == KENYA else {"country": self.country}
        return {"stocks": [asdict(stock) for stock in self.stocks], **elsewhere, **self.clock.as_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "universe") -> Self:
        """Rebuild what `as_dict` gave; the stock ids must be those of the sorted symbols.

        Raises
        ------
        UniverseError
            If a field is missing, the ids are not 1..N in symbol order, or `ExchangeClock.from_dict` fails.
        """
        try:
            stocks = tuple(Stock(**stock) for stock in values["stocks"])
        except (KeyError, TypeError) as error:
            raise UniverseError(f"{where}: not a saved universe: {error}. Publish it again.") from None
        universe = cls.from_symbols(
            [stock.symbol for stock in stocks],
            [stock.name for stock in stocks],
            [stock.sector for stock in stocks],
            [stock.symbol for stock in stocks if stock.tier == "specific"],
            where,
            values.get("country", KENYA),
            ExchangeClock.from_dict(values, where),
        )
        if universe.stocks != stocks:
            raise UniverseError(
                f"{where}: stock ids are not 1..{len(stocks)} in symbol order. Publish it again."
            )
        return universe

    @cached_property
    def _by_symbol(self) -> dict[str, Stock]:
        return {stock.symbol: stock for stock in self.stocks}


def load_universe(path: Path | None = None) -> Universe:
    """Read a universe file: a list ``specific``, a table ``symbol = "name"`` for each sector, the exchange.

    Of the exchange there may be ``country`` (of its public holidays), ``timezone`` and ``closes``; Nairobi's
    are the default.

    Parameters
    ----------
    path : Path, optional
        Default: the exchange's own 66 counters.

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
    symbols, names, of_sectors = (
        (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    )
    country, clock = str(values.get("country", KENYA)), ExchangeClock.from_dict(values, str(path))
    return Universe.from_symbols(symbols, names, of_sectors, specific, str(path), country, clock)


def _has_holidays(country: str) -> bool:
    import holidays  # a tenth of a second that Nairobi's own counters do without

    return len(country) == 2 and country in holidays.list_supported_countries()


def _doubled(values: Iterable[str]) -> list[str]:
    return sorted(value for value, times in Counter(values).items() if times > 1)
