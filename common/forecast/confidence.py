"""How much a forecast is worth: a rule of three words, not a probability."""

from dataclasses import dataclass
from typing import Literal

from common.presets import SPECIFIC

Word = Literal["high", "medium", "low"]
STALE_SESSIONS = 5
"""A last price this many sessions of the market old is stale."""


@dataclass(frozen=True)
class Confidence:
    """The word and the reasons for it, for people."""

    word: Word
    reasons: tuple[str, ...]


def confidence(
    *,
    model_type: str,
    by_model: bool,
    skilled: bool,
    frozen: bool = False,
    sessions_behind: int = 0,
    known: bool = True,
) -> Confidence:
    """The documented rule.

    High for a stock's own model that beat the last price on the test part, medium for any other. Low if the
    price stood still all window long, if the last price is published because the model did not beat it
    on validation, or if the stock is unknown. One step lower if the last price is stale.

    Parameters
    ----------
    model_type : ``"stock_specific"`` or ``"general"``
    by_model : the published price is the model's, not the last price
    skilled : published and raw price both beat naive on the test part, for that stock and horizon
    sessions_behind : sessions of the market since the stock's last price
    known : the stock is in the universe
    """
    low = {
        "the price has not moved for a whole window": frozen,
        "the model did not beat the last price on validation": not (by_model or frozen),
        "the stock is not one the models were trained on": not known,
    }
    reasons = [reason for reason, holds in low.items() if holds]
    own = model_type == SPECIFIC
    word: Word = "low" if reasons else "high" if own and skilled else "medium"
    if own and not skilled and not reasons:
        reasons.append("its own model did not beat the last price on the test part")
    if sessions_behind >= STALE_SESSIONS:
        word = "medium" if word == "high" else "low"
        reasons.append(f"the last price is {sessions_behind} sessions old")
    return Confidence(word, tuple(reasons))
