"""Shared parts of the reports' charts: the palette, and plotly figures as JSON values.

A page replaces each colour by its CSS variable (``COLOURS``), so that charts follow its light or dark theme.
The charts escape text, because plotly interprets some HTML in labels. A chart without data is None.
"""

from typing import Any

import numpy as np
import plotly.graph_objects as go

Figure = dict[str, Any]
TEXT, MUTED, PAGE, GOOD, BAND = "#1b2026", "#5b6570", "#ffffff", "#116b34", "rgba(11, 92, 173, .16)"
SERIES = ("#0b5cad", "#b4530a", "#0f766e", "#7c3aed", "#be185d", "#4d7c0f")
OURS, OTHER = SERIES[:2]
COLOURS = {TEXT: "--c-text", MUTED: "--c-muted", PAGE: "--c-page", GOOD: "--c-good", BAND: "--c-band"}
COLOURS |= {colour: f"--c-{number}" for number, colour in enumerate(SERIES, start=1)}
SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "star")
LINE = {"line_color": TEXT, "line_width": 1.5, "layer": "below"}
"""Style of a reference line for `plotly.graph_objects.Figure.add_hline` and ``add_vline``."""
NOTE = {"size": 12, "color": MUTED}
"""Font of a note in a chart."""


def plain(figure: go.Figure, **layout: Any) -> Figure:
    """Return a figure as JSON values: six digits, None for NaN and infinity, without empty traces."""
    traces = [trace.to_plotly_json() for trace in figure.data if len(trace.x)]
    content = figure.update_layout(layout).layout.to_plotly_json()
    content.pop("template", None)
    values: Figure = _plain({"data": traces, "layout": content})
    return values


def epoch_ticks(epochs: int) -> dict[str, Any]:
    """Return integer ticks for an axis of epochs."""
    return {"tickformat": "d", **({"dtick": 1} if epochs < 10 else {"nticks": 12})}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value
