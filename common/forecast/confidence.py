"""Rate how far a forecast can be trusted: high, medium or low, by a rule. It is not a probability."""

from dataclasses import dataclass
from typing import Literal

from common.presets import SPECIFIC

ConfidenceRating = Literal["high", "medium", "low"]
STALE_SESSIONS = 5
"""A last price is stale from this many market sessions on."""


@dataclass(frozen=True)
class Confidence:
    """A rating, and the reasons for it in words."""

    word: ConfidenceRating
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
    """Rate one forecast.

    High: the stock has its own model, which beat the last price on the test part. Low: the price did not
    move inside the window, the last price is published because the model did not beat it on validation,
    or the stock is unknown. Medium otherwise. A stale last price lowers the rating by one step.

    Parameters
    ----------
    model_type : ``"stock_specific"`` or ``"general"``
    by_model : the published price is the model's, not the last price
    skilled : published and raw price both beat naive on the test part, for this stock and horizon
    sessions_behind : market sessions since the stock's last price
    known : the stock is in the universe
    """
    low = {
        "the price has not moved for a whole window": frozen,
        "the model did not beat the last price on validation": not (by_model or frozen),
        "the stock is not one the models were trained on": not known,
    }
    reasons = [reason for reason, holds in low.items() if holds]
    own = model_type == SPECIFIC
    word: ConfidenceRating = "low" if reasons else "high" if own and skilled else "medium"
    if own and not skilled and not reasons:
        reasons.append("its own model did not beat the last price on the test part")
    if sessions_behind >= STALE_SESSIONS:
        word = "medium" if word == "high" else "low"
        reasons.append(f"the last price is {sessions_behind} sessions old")
    return Confidence(word, tuple(reasons))
