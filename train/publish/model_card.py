"""The model card of a release: its data, recipe, figures, limits and intended use, as Markdown.

The form follows Mitchell et al., Model Cards for Model Reporting, FAT* 2019. Every figure and every limit
comes from the release's evidence.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from common.pages.render import days
from common.pages.tables import missing
from common.release.released_models import networks_line
from train.evaluation import worth_sentences
from train.evaluation.evidence import Evidence
from train.evaluation.ratio_intervals import with_intervals

OFF = 0.02
"""A coverage that differs from 90 % by more than this is a known limit."""
NAMED = 30
"""Most symbols that one limit names."""

FLAGS = {
    "no data": "Stocks without prices, which have no forecast",
    "too short": "Stocks with a short history",
    "frozen": "Stocks that do not move: their forecast is the last price, and no figure includes them",
    "last price published": "Stocks that move but whose published price is the last one",
    "worse than naive": "Stocks forecast worse than by the last price at the shortest horizon (relMAE)",
}


def model_card(evidence: Evidence) -> str:
    """Return the card; reads ``config.json`` in the folder of the evidence."""
    config = json.loads((evidence.folder / "config.json").read_bytes())
    figures = []
    for horizon in evidence.horizons:
        table = evidence.forecasts.of_horizon(horizon)
        figures.append((with_intervals(table), with_intervals(table, ("tier",))))
    pooled, tiers = (pd.concat(parts, ignore_index=True) for parts in zip(*figures, strict=True))
    spans = [evidence.panel.spans.get(symbol, (0, 0)) for symbol in evidence.universe.symbols]
    text: str = _template().render(
        release=evidence.release,
        info={"failed": {}, "skipped": {}, "jobs": []} | evidence.info,
        config=config,
        synthetic=evidence.synthetic,
        networks=networks_line(evidence.info),
        stocks=len(evidence.universe.stocks),
        rows=sum(stop - start for start, stop in spans),
        sessions=evidence.panel.dates,
        pooled=pooled.to_dict(orient="records"),
        tiers=tiers.to_dict(orient="records"),
        groups=_at_shortest(evidence.worth.groups),
        ranking=worth_sentences.ranking(evidence.worth),
        verdict=worth_sentences.verdict(evidence.worth),
        limits=limits(evidence, pooled, tiers),
    )
    return text


def limits(evidence: Evidence, pooled: pd.DataFrame, tiers: pd.DataFrame) -> list[str]:
    """Return the known limits that follow from the figures; both tables as returned by `with_intervals`."""
    known = [*_errors(pooled.to_dict(orient="records")), *_errors(tiers.to_dict(orient="records"))]
    for row in pooled.to_dict(orient="records"):
        if not missing(row["cover90"]) and abs(row["cover90"] - 0.9) > OFF:
            share = f"{100 * row['cover90']:.1f} % of the actual prices"
            known.append(f"{days(row['horizon'])} ahead, the 90 % intervals contained {share}.")
    known += _flagged(evidence)
    if failed := evidence.info.get("failed"):
        known.append(f"Models that failed, replaced by the general model: {', '.join(sorted(failed))}.")
    if evidence.info["preset"] == "residual":
        known.append(
            "The figures are for forecasts from the release's own prices. A forecast from closes that a "
            "request includes lacks highs, lows and volumes, and its errors are not measured here."
        )
    if "train_end" in evidence.info.get("refit", {}):
        known.append(
            "The served networks are the same recipe fitted to more prices. Their own errors cannot be "
            "measured on prices that they have seen; `nsecast monitor` measures them as prices arrive."
        )
    known.append(worth_sentences.verdict(evidence.worth).partition(". ")[0].rstrip(".") + ".")
    if evidence.synthetic:
        known.append("The prices are synthetic, so the figures say nothing about a real market.")
    else:
        known.append(worth_sentences.DAY_PRICE)
    return known


def _errors(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield where the ratios are not measurably below 1; of a tier, only where they are above."""
    for name, price in (("rel_mae", "published price (relMAE"), ("rel_rmse", "raw price (relRMSE")):
        for row in rows:
            if not row["n"] or row[f"{name}_high"] < 1:
                continue
            worse = row[f"{name}_low"] > 1
            if worse or "tier" not in row:
                word = "worse than" if worse else "not measurably better than"
                of = f" of the {row['tier']} tier" if "tier" in row else ""
                ratio = interval(row, name).replace("(", "[").replace(")", "]")
                yield f"{days(row['horizon'])} ahead, the {price} {ratio}){of} is {word} the last price."


def _flagged(evidence: Evidence) -> Iterator[str]:
    """Yield the stocks with each flag of the performance matrix."""
    flags = [str(cell).split(", ") for cell in evidence.matrix["flags"].fillna("")]
    for flag, text in FLAGS.items():
        symbols = evidence.matrix.loc[[flag in names for names in flags], "symbol"].tolist()
        if symbols:
            more = f" and {len(symbols) - NAMED:,} more" if len(symbols) > NAMED else ""
            yield f"{text}: {len(symbols)} ({', '.join(symbols[:NAMED])}{more})."


def interval(row: dict[str, Any], name: str) -> str:
    """Format a ratio with its 95 % interval."""
    if missing(row[name]):
        return "-"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.3f}" + ("" if missing(low) else f" ({low:.3f} to {high:.3f})")


def _number(value: Any, form: str, times: float = 1) -> str:
    return "-" if missing(value) else format(times * value, form)


def _at_shortest(groups: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = groups[groups["horizon"] == groups["horizon"].min()].to_dict(
        orient="records"
    )
    return rows


@cache
def _template() -> Any:
    environment = Environment(  # nosec B701 # Markdown, not HTML
        loader=PackageLoader("train.publish"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"interval": interval, "number": _number, "days": days}
    return environment.get_template("model_card.md.j2")
