"""The forecast card in plain words: every sentence comes from ``card_<language>.toml``."""

import datetime as dt
from functools import cache
from pathlib import Path
from typing import Any, Literal

from common.config import read_toml
from serve.card.card import Card, CardLine, Caution
from serve.schemas.forecast import days_of

Language = Literal["en", "sw"]
SYNTHETIC = "synthetic"
"""Said first of all."""


@cache
def templates(language: Language) -> dict[str, Any]:
    """The sentences of one language."""
    return read_toml(Path(__file__).with_name(f"card_{language}.toml"))


def card_text(card: Card, language: Language) -> str:
    """The card for people, several lines."""
    words = templates(language)
    past, cautions = words["past"], words["cautions"]
    test = {"start": _date(card.test_from, words), "end": _date(card.test_to, words)}
    reasons = [_reason(each, words) for each in card.cautions if each.code != SYNTHETIC]
    return "\n".join(
        [
            *(_reason(each, words) for each in card.cautions if each.code == SYNTHETIC),
            words["title"].format(symbol=card.symbol, name=card.name, sector=card.sector),
            words["last"].format(price=_price(card.last_price), date=_date(card.last_date, words)),
            "",
            words["expect"]["heading"],
            *(f"  - {_expected(each, words)}" for each in card.outlook),
            past["heading"].format(**test),
            *(f"  - {_past(each, words)}" for each in card.outlook),
            cautions["heading"],
            *(f"  - {reason}" for reason in reasons or [cautions["none"]]),
            "",
            words["release"].format(release=card.release),
        ]
    )


def _expected(each: CardLine, words: dict[str, Any]) -> str:
    sentences: dict[str, str] = words["expect"]
    moved = round(each.change_percent, 1)
    change = sentences["up" if moved > 0 else "down" if moved < 0 else "same"]
    values = {
        "days": _days(each, words),
        "date": _date(each.target_date, words),
        "price": _price(each.prediction),
        "change": change.format(percent=f"{abs(moved):.1f}"),
        "confidence": sentences[each.confidence],
    }
    if each.lower is None or each.upper is None or each.lower == each.upper:
        return sentences["no_range"].format(**values)
    return sentences["range"].format(**values, lower=_price(each.lower), upper=_price(each.upper))


def _past(each: CardLine, words: dict[str, Any]) -> str:
    sentences: dict[str, str] = words["past"]
    found = each.past
    if found is None:
        return sentences["unmeasured"].format(days=_days(each, words))
    values = {
        "days": _days(each, words),
        "mape": f"{found.mape:.2f}",
        "naive": f"{found.naive_mape:.2f}",
        "verdict": sentences[found.verdict],
        "judged": sentences["judged"] if found.by_mape not in ("same", found.verdict) else "",
    }
    if found.cover90 is None:
        return sentences["plain"].format(**values)
    return sentences["covered"].format(**values, inside=f"{100 * found.cover90:.0f}")


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


def _days(each: CardLine, words: dict[str, Any]) -> str:
    days = days_of(each.horizon)
    sentence: str = words["days_one" if days == 1 else "days_many"]
    return sentence.format(days=days)


def _date(day: dt.date, words: dict[str, Any]) -> str:
    sentence: str = words["date"]
    return sentence.format(day=day.day, month=words["months"][day.month - 1], year=day.year)


def _price(price: float) -> str:
    return f"{price:,.2f}"
