"""The forecast card as text; the sentences are in ``card_<language>.toml``."""

import datetime as dt
from functools import cache
from pathlib import Path
from typing import Any, Literal

from common.config import read_toml
from serve.card.card import Card, CardLine, Caution
from serve.schemas.forecast import days_of

Language = Literal["en", "sw"]
SYNTHETIC = "synthetic"
"""Code of the caution that comes first."""


@cache
def templates(language: Language) -> dict[str, Any]:
    """Read the sentences of one language."""
    return read_toml(Path(__file__).with_name(f"card_{language}.toml"))


def card_text(card: Card, language: Language) -> str:
    """Format a card as several lines of text."""
    words = templates(language)
    past, cautions = words["past"], words["cautions"]
    test = {"start": _date(card.test_from, words), "end": _date(card.test_to, words)}
    reasons = [_reason(caution, words) for caution in card.cautions if caution.code != SYNTHETIC]
    return "\n".join(
        [
            *(_reason(caution, words) for caution in card.cautions if caution.code == SYNTHETIC),
            words["title"].format(symbol=card.symbol, name=card.name, sector=card.sector),
            words["last"].format(price=_price(card.last_price), date=_date(card.last_date, words)),
            "",
            words["expect"]["heading"],
            *(f"  - {_expected(line, words)}" for line in card.outlook),
            past["heading"].format(**test),
            *(f"  - {_past(line, words)}" for line in card.outlook),
            cautions["heading"],
            *(f"  - {reason}" for reason in reasons or [cautions["none"]]),
            "",
            words["release"].format(release=card.release),
        ]
    )


def _expected(line: CardLine, words: dict[str, Any]) -> str:
    sentences: dict[str, str] = words["expect"]
    moved = round(line.change_percent, 1)
    change = sentences["up" if moved > 0 else "down" if moved < 0 else "same"]
    values = {
        "days": _days(line, words),
        "date": _date(line.target_date, words),
        "price": _price(line.prediction),
        "change": change.format(percent=f"{abs(moved):.1f}"),
        "confidence": sentences[line.confidence],
    }
    if line.lower is None or line.upper is None or line.lower == line.upper:
        return sentences["no_range"].format(**values) + _probabilities(line, sentences)
    values |= {"lower": _price(line.lower), "upper": _price(line.upper)}
    return sentences["range"].format(**values) + _probabilities(line, sentences)


def _probabilities(line: CardLine, sentences: dict[str, str]) -> str:
    probabilities = {
        "up": line.probability_up,
        "unchanged": line.probability_unchanged,
        "down": line.probability_down,
    }
    known = {name: f"{100 * value:.0f}" for name, value in probabilities.items() if value is not None}
    return sentences["probabilities"].format(**known) if len(known) == len(probabilities) else ""


def _past(line: CardLine, words: dict[str, Any]) -> str:
    sentences: dict[str, str] = words["past"]
    past = line.past
    if past is None:
        return sentences["unmeasured"].format(days=_days(line, words))
    values = {
        "days": _days(line, words),
        "mape": f"{past.mape:.2f}",
        "naive": f"{past.naive_mape:.2f}",
        "verdict": sentences[past.verdict],
        "judged": sentences["judged"] if past.by_mape not in ("same", past.verdict) else "",
    }
    if past.cover90 is None:
        return sentences["plain"].format(**values)
    return sentences["covered"].format(**values, inside=f"{100 * past.cover90:.0f}")


def _reason(caution: Caution, words: dict[str, Any]) -> str:
    values = {name: _value(value, words) for name, value in caution.values.items()}
    sentences: dict[str, str] = words["cautions"]
    one = caution.values.get("sessions") == 1 and f"{caution.code}_one" in sentences
    code = f"{caution.code}_one" if one else caution.code
    return sentences.get(code, sentences["other"]).format(**values)


def _value(value: Any, words: dict[str, Any]) -> str:
    if isinstance(value, dt.date):
        return _date(value, words)
    if isinstance(value, list):
        *before, last = map(str, value)
        return f"{', '.join(before)} {words['and']} {last}" if before else last
    return f"{value:.0f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


def _days(line: CardLine, words: dict[str, Any]) -> str:
    days = days_of(line.horizon)
    sentence: str = words["days_one" if days == 1 else "days_many"]
    return sentence.format(days=days)


def _date(day: dt.date, words: dict[str, Any]) -> str:
    sentence: str = words["date"]
    return sentence.format(day=day.day, month=words["months"][day.month - 1], year=day.year)


def _price(price: float) -> str:
    return f"{price:,.2f}"
