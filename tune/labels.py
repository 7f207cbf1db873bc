"""Names and values of parameters as text."""

from typing import Any

import numpy as np
import pandas as pd

SHORT = {"learning_rate": "rate", "embedding": "emb", "lstm": "lstm", "dense": "dense", "window": "win"}
"""Part of a parameter's name, and its abbreviation."""


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


def settings(values: dict[str, Any]) -> str:
    """Return rate and sizes as ``rate 0.004 emb 10 lstm 50/50 dense 64 win 60``."""
    parts = {
        short: "/".join(value_text(value) for name, value in values.items() if part in name)
        for part, short in SHORT.items()
    }
    return " ".join(f"{short} {own}" for short, own in parts.items() if own)


def range_text(kind: dict[str, Any]) -> str:
    """Return ``{"low", "high", "log"}`` or ``{"choices"}`` of a parameter as text."""
    if "choices" in kind:
        return ", ".join(map(value_text, kind["choices"]))
    return f"{value_text(kind['low'])} to {value_text(kind['high'])}{', log scale' if kind['log'] else ''}"


def counted(proposals: int, compared: int) -> str:
    """Return the counts as text, such as ``4 proposals and 3 for comparison``."""
    return f"{proposals:,} proposal{'' if proposals == 1 else 's'} and {compared:,} for comparison"
