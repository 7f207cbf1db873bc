"""Find the stock that a person means: by symbol, former symbol or company name."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from common.errors import UnknownSymbol
from common.exchange.symbols import delisted_symbols, no_share, renamed, unlisted_companies
from common.exchange.universe import Stock, Universe

EXCHANGE = re.compile(r"^NSE(?:KE)? *: *|\.(?:NR|KE)$")
"""How data vendors mark a symbol as Nairobi's: ``NSE:SCOM``, ``NSEKE:SCOM``, ``SCOM.NR``, ``SCOM.KE``."""
NO_NAME = frozenset({"AND", "CO", "COMPANY", "CORPORATION", "K", "LIMITED", "LTD", "OF", "PLC", "THE"})
"""Words that do not tell companies apart."""
LISTED, NEAR = 10, 3
"""Numbers of ambiguous names and of similar symbols that an error lists."""
PREFIX = 4
"""Letters from which the beginning of a word stands for the word."""


@dataclass(frozen=True)
class Found:
    """The stock that a text means."""

    stock: Stock
    former: str | None = None
    """The stock's former symbol, if the text is that."""


def find_stock(text: str, universe: Universe, *, by_name: bool = True) -> Found:
    """Find a stock by symbol (in any case, with or without a vendor's mark), former symbol or name.

    A name matches if its words follow each other in the company's name; the beginning of a word counts from
    ``PREFIX`` letters on, and spaces and hyphens do not count at the beginning of a name. The name of a
    sector with several stocks means all of them, so it is ambiguous. Nairobi's former symbols apply only to
    its own stocks (`Universe.is_nairobi`).

    Parameters
    ----------
    by_name : whether names count

    Raises
    ------
    UnknownSymbol
        If no stock matches, or several names do. The candidates' symbols are in its context, ``near``.
    """
    upper = " ".join(text.upper().split())
    symbols = universe.symbols
    symbol = upper if upper in symbols else EXCHANGE.sub("", upper)
    if symbol in symbols:
        return Found(universe.find(symbol))
    if universe.is_nairobi and (new := renamed(symbol)) in symbols:
        return Found(universe.find(str(new)), symbol)
    candidates = _of_name_or_sector(symbol, universe.stocks) if by_name else []
    if len(candidates) == 1:
        return Found(candidates[0])
    if candidates:
        reason = f"{len(candidates)} stocks have such a name or sector: {_listed(candidates[:LISTED])}"
        reason += f" and {len(candidates) - LISTED} more" * (len(candidates) > LISTED) + ". Send a symbol."
    else:
        candidates = _similar(symbol, universe)[:NEAR]
        hint = (
            f"Did you mean {_listed(candidates)}?" if candidates else f"Known: {', '.join(symbols[:5])}, ..."
        )
        reason = f"{_why(symbol) if universe.is_nairobi else ''}not one of the {len(symbols)} stocks. {hint}"
    near = [stock.symbol for stock in candidates[:LISTED]]
    raise UnknownSymbol(f"{text}: {reason}", symbol=text, near=near)


def _why(symbol: str) -> str:
    match no_share(symbol):
        case "delisted":
            return f"no longer listed ({delisted_symbols()[symbol]}); "
        case "rights":
            return "rights to shares have no forecast; "
    return ""


def _words(text: str) -> list[str]:
    joined = re.sub(r"['-]", "", text.upper())
    return [word for word in re.findall("[A-Z0-9]+", joined) if word not in NO_NAME]


def _of_name_or_sector(text: str, stocks: Sequence[Stock]) -> list[Stock]:
    in_sector = [stock for stock in stocks if stock.sector.upper() == text]
    return in_sector if len(in_sector) > 1 else _by_name(text, stocks)


def _by_name(text: str, stocks: Iterable[Stock]) -> list[Stock]:
    """Return the stocks whose name has all words of a text, or only the one whose name is the text."""
    words_of_text, start = _words(text), re.sub("[^A-Z0-9]", "", text)
    if len("".join(words_of_text)) < 2:
        return []
    found = []
    for stock in stocks:
        squeezed = re.sub("[^A-Z0-9]", "", stock.name.upper())
        if words_of_text == _words(stock.name) or start == squeezed:
            return [stock]
        if stock.name == stock.symbol:  # the beginning of a symbol is no name
            continue
        if _follow(words_of_text, stock) or (len(start) >= PREFIX and squeezed.startswith(start)):
            found.append(stock)
    return found


def _follow(words: Sequence[str], stock: Stock) -> bool:
    """Return whether words, other than the symbol, follow each other in the name of a stock."""
    words = [word for word in words if word != stock.symbol] or words
    name = [*_words(stock.name), stock.symbol]
    starts = range(len(name) - len(words) + 1)
    return any(all(map(_means, words, name[place:])) for place in starts)


def _means(word: str, other: str) -> bool:
    return word == other or (len(word) >= PREFIX and other.startswith(word))


def _similar(text: str, universe: Universe) -> list[Stock]:
    """Return the stocks whose names have the words of a text, else its first, else similar ones."""
    words = _words(text)
    if universe.is_nairobi and (meant := unlisted_companies().get(" ".join(words))):
        return [stock for stock in universe.stocks if stock.symbol in meant]
    if len(words) > 1 and (
        found := [stock for stock in universe.stocks if all(_follow([word], stock) for word in words)]
    ):
        return found
    if len(words) > 1 and len(words[0]) > 2 and (found := _by_name(words[0], universe.stocks)):
        return found
    spelled: dict[str, Stock] = {}
    for stock in universe.stocks:
        for name in (*_words(stock.name), "".join(_words(stock.name)), stock.symbol):
            if name == stock.symbol or len(name) >= PREFIX:
                spelled.setdefault(name, stock)
    close = difflib.get_close_matches("".join(words) or text, spelled, n=2 * NEAR)
    return list(dict.fromkeys(spelled[name] for name in close))


def _listed(stocks: Iterable[Stock]) -> str:
    return ", ".join(
        stock.symbol if stock.name == stock.symbol else f"{stock.symbol} ({stock.name})" for stock in stocks
    )
