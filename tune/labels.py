"""Names and values of parameters as text."""

from typing import Any

import numpy as np
import pandas as pd

SHORT = (("embedding", "emb"), ("lstm", "lstm"), ("dense", "dense"), ("window", "win"))
"""Part of a size's name, and its abbreviation."""


def label(name: str) -> str:
    """Return ``embedding_dim`` as "embedding dim", ``l2`` as "L2"."""
    return " ".join(word.upper() if word in ("l2", "lstm") else word for word in name.split("_"))


def value_text(value: Any) -> str:
    """Return a parameter's value: whole numbers in full, others to three digits, ``-`` for none."""
    if pd.isna(value):
        return "-"
    if not isinstance(value, int | float | np.number):
        return str(value)
    return f"{int(value)}" if float(value).is_integer() else f"{value:.3g}"


def sizes(values: dict[str, Any], *, named: bool = True) -> str:
    """Return the sizes as ``emb 10 · lstm 50/50 · dense 64 · win 60``, or unnamed as ``10 50/50 64 60``."""
    parts = []
    for part, short in SHORT:
        own = "/".join(value_text(value) for name, value in values.items() if part in name)
        if own:
            parts.append(f"{short} {own}" if named else own)
    return (" · " if named else " ").join(parts)


def rate(values: dict[str, Any]) -> str:
    """Return the learning rate, ``-`` if it was not searched."""
    return value_text(values.get("learning_rate"))


def counted(proposals: int, compared: int) -> str:
    """Return the counts as text, such as ``4 proposals and 3 for comparison``."""
    return f"{proposals:,} proposal{'' if proposals == 1 else 's'} and {compared:,} for comparison"
