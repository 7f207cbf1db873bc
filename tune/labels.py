"""Names and values of what was searched, as people read them."""

from typing import Any

import numpy as np

SHORT = (("embedding", "emb"), ("lstm", "lstm"), ("dense", "dense"), ("window", "win"))
"""Part of a size's name, and what stands for it where there is little room."""


def label(name: str) -> str:
    """``embedding_dim`` as "embedding dim", ``l2`` as "L2"."""
    words = name.replace("_", " ").replace(".", " ")
    return " ".join(word.upper() if word in ("l2", "lstm") else word for word in words.split())


def said(value: Any) -> str:
    """A parameter's value: whole numbers whole, others to three digits, ``-`` for none."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "-"
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        if isinstance(value, list | tuple):
            return "/".join(map(said, value))
        return str(value)
    return f"{int(value)}" if float(value).is_integer() else f"{value:.3g}"


def sizes(values: dict[str, Any], *, named: bool = True) -> str:
    """Sizes alone: ``emb 10 · lstm 50/50 · dense 64 · win 60``, or without names ``10 50/50 64 60``."""
    parts = []
    for part, short in SHORT:
        own = "/".join(said(value) for name, value in values.items() if part in name)
        if own:
            parts.append(f"{short} {own}" if named else own)
    return (" · " if named else " ").join(parts)


def rate(values: dict[str, Any]) -> str:
    """The learning rate, ``-`` if it was not searched."""
    return next((said(value) for name, value in values.items() if "rate" in name), "-")


def counted(proposals: int, compared: int) -> str:
    """How many trials there are of each kind, such as ``4 proposals and 3 for comparison``."""
    return f"{proposals:,} proposal{'' if proposals == 1 else 's'} and {compared:,} for comparison"
