"""What any report of ours is made of: the page around it, its assets, the places of its charts."""

import json
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from common import storage

SHARED = ("base.js", "plots.js")
"""Programs of every page: reading its data, sorting a table, drawing charts."""


def whole_page(title: str, body: str, data: Any, programs: str, *, style: str = "", near: str = "") -> str:
    """An HTML page that needs nothing else: it holds plotly.js, and its policy forbids it to load anything.

    Parameters
    ----------
    title : text, escaped here
    body : HTML between ``<body>`` and the programs
    data : what the programs find in ``report``
    programs : JavaScript, run after ``SHARED`` and plotly
    style : CSS after the shared styles
    near : the horizon shown first, for a page that shows one at a time
    """
    return Template(asset("shell.html")).substitute(
        title=escape(title),
        style=asset("report.css") + style,
        near=escape(near),
        body=body,
        data=as_json(data),
        plotly=get_plotlyjs().replace("</script", "<\\/script"),
        scripts="".join(map(asset, SHARED)) + programs,
    )


def asset(name: str, package: str = "train.report") -> str:
    return (files(package) / "assets" / name).read_text(encoding="utf-8")


def banner(kind: str, title: str, text: str) -> str:
    """A stripe across the page, ``kind`` "synthetic" or "quick"; ``text`` is HTML."""
    return f'<p class="banner {kind}"><strong>{escape(title)}</strong> {text}</p>'


def synthetic_banner() -> str:
    text = "Every price in this report was invented. Nothing here says anything about a real stock."
    return banner("synthetic", "Synthetic data.", text)


def quick_banner(what: str) -> str:
    """``what`` was made quickly: "release", "search"."""
    text = (
        "Made with <code>--quick</code> to try everything out: its networks are barely trained, and its "
        "figures measure nothing."
    )
    return banner("quick", f"Quick {what}.", text)


def chart(name: str, label: str, *, there: bool = True, missing: str = "", by_horizon: bool = False) -> str:
    """The place of the figure called ``name``, or where it is not there, a word on that."""
    if not there:
        return f'<p class="empty">{escape(missing or "There are no figures to draw here.")}</p>'
    kind = " data-by-horizon" if by_horizon else ""
    return (
        f'<figure><div class="chart" id="chart-{name}" data-figure="{name}"{kind} role="img" '
        f'aria-label="Chart: {escape(label)}"></div>'
        '<p class="empty" hidden>There are no figures to draw at this horizon.</p></figure>'
    )


def folded(content: str, summary: str = "The figures as a table") -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def together(text: str) -> str:
    """Keep a percent sign on the line of its number."""
    return text.replace(" %", "&nbsp;%")


def as_json(value: Any) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(storage.finite(value), separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
