"""The top of the report: banners, what was trained on what, and the headline figures next to naive."""

import re
from html import escape
from typing import Any

import pandas as pd

from common import storage
from train.evaluation.evidence import Evidence
from train.report.charts import OURS, RATIOS, days, with_ours
from train.report.parts import banner, quick_banner, synthetic_banner
from train.report.tables import SIGNIFICANT, TESTED, boxed, ratio, shown_as, table, verdict_of

DATE, WHOLE = re.compile(r"\d{4}-\d{2}-\d{2}"), r'<span class="whole">\g<0></span>'
HEADLINE = {
    "n": "Forecasts scored (moving stocks)",
    "mae": "MAE of the published price, KES",
    "naive_mae": "MAE of naive, KES",
    "rel_mae": "relMAE (published), by errors in % of the last price",
    "rel_rmse": "relRMSE (raw)",
    "dm_abs_p": "Diebold-Mariano p, absolute errors",
    "dm_sq_p": "Diebold-Mariano p, squared errors",
    "cover90": "Inside the 90 % interval, %",
    "width90": "Width of the 90 % interval, % of the price",
    "called_share": "Moves called, % of forecasts",
    "direction_n": "Called moves where the price moved",
    "direction": "Direction right, % of those",
}


def banners(evidence: Evidence) -> str:
    """What must not be overlooked: invented prices, a quick release, one with models that failed."""
    found = []
    if evidence.synthetic:
        found.append(synthetic_banner())
    if evidence.info.get("quick"):
        found.append(quick_banner("release"))
    if failed := evidence.info.get("failed"):
        names = escape(", ".join(failed))
        text = f"Models that failed: {names}. The general model stands in for them."
        found.append(banner("quick", "Partial release.", text))
    return "".join(found)


def facts(evidence: Evidence) -> str:
    """What was trained, on which data and dates."""
    info, sessions, cutoffs = evidence.info, evidence.panel.dates, evidence.table["cutoff"]
    train, valid, test = (str(info.get(f"{part}_end") or "unknown") for part in ("train", "valid", "test"))
    made = f"; forecasts made up to {cutoffs.max():%Y-%m-%d}" if len(cutoffs) else ""
    found = {
        "Preset": info.get("preset", "unknown"),
        "Data": f"{info.get('source', 'unknown')}, {len(evidence.universe.stocks)} counters, "
        f"{sessions[0]:%Y-%m-%d} to {sessions[-1]:%Y-%m-%d}",
        "Training": f"up to {train}",
        "Validation": f"{train} to {valid}",
        "Test": f"{valid} to {test}, unseen in training{made}",
    }
    rows = "".join(f"<div><dt>{name}</dt><dd>{escape(str(fact))}</dd></div>" for name, fact in found.items())
    return f'<dl class="facts">{DATE.sub(WHOLE, rows)}</dl>'


def cards(evidence: Evidence) -> str:
    """One card per horizon, in plain words."""
    return "".join(_card(row) for row in evidence.pooled.to_dict(orient="records"))


def _card(row: dict[str, Any]) -> str:
    title = f"<h3>{days(row['horizon'])} ahead</h3>"
    if not row["n"] or pd.isna(row["rel_mae"]):
        return f'<li class="card">{title}<p>No forecast to compare.</p></li>'
    word = verdict_of(row["rel_mae"])[0]
    change = 100 * (row["rel_mae"] - 1)
    text = "Errors in percent of the last price are as large as naive’s."
    if word != "equal":
        chance = "significant" if row["dm_abs_p"] < SIGNIFICANT else "could be chance"
        text = (
            f"Errors in percent of the last price {abs(change):,.1f} % "
            f"{'smaller' if change < 0 else 'larger'} than naive’s; {chance}."
        )
    text += (
        f" Off by {row['mae']:,.3f} KES on average, naive by {row['naive_mae']:,.3f}{_other_way(row, word)}."
    )
    if pd.notna(row["cover90"]):
        text += f" The 90 % interval held {100 * row['cover90']:.1f} % of the actual prices."
    figure = f'<p class="big">{ratio(row["rel_mae"], row["dm_abs_p"])} <small>relMAE</small></p>'
    return f'<li class="card {word}">{title}{figure}<p>{text}</p></li>'


def _other_way(row: dict[str, Any], word: str) -> str:
    """Why the pair in KES, as printed, points another way than relMAE."""
    ours, naive = round(row["mae"], 3), round(row["naive_mae"], 3)
    in_kes = "better" if ours < naive else "worse" if ours > naive else word
    if in_kes == word:
        return ""
    return f": {in_kes} in KES, where errors at high prices count more; the verdict is relMAE"


def headline_table(evidence: Evidence) -> str:
    """Figures down, horizons across."""
    pooled = evidence.pooled.to_dict(orient="records")
    head = "".join(f'<th scope="col" class="number">{days(row["horizon"])}</th>' for row in pooled)
    body = []
    for key, label in HEADLINE.items():
        cells = "".join(
            f'<td class="number" data-k="{key}" data-v="{storage.finite(row[key])}">{_figure(key, row)}</td>'
            for row in pooled
        )
        body.append(f'<tr><th scope="row">{label}</th>{cells}</tr>')
    content = f'<thead><tr><th scope="col">Figure</th>{head}</tr></thead><tbody>{"".join(body)}</tbody>'
    return boxed(content, "Headline figures by days ahead, next to naive", name="figures")


def _figure(key: str, row: dict[str, Any]) -> str:
    if key == "direction" and pd.notna(row[key]):
        return f"{100 * row[key]:.1f}"
    return shown_as(key, row[key], p=row.get(TESTED.get(key, "")))


def rivals_table(evidence: Evidence) -> str:
    """What simple rivals reach on the same windows, ours marked, naive 1 by definition."""
    if evidence.rivals is None:
        return (
            '<p class="empty">Not run for this release. <code>nsecast backtest</code> runs ours next to '
            "simple rivals on the same windows.</p>"
        )
    found = with_ours(evidence)
    wide = across_horizons(found[found["horizon"].isin(evidence.horizons)], "model")
    caption = "What the rivals reach on the same windows"
    return table(wide, caption, marked=[OURS], hidden=tuple(TESTED.values()))


def across_horizons(figures: pd.DataFrame, by: str) -> pd.DataFrame:
    """Both ratios and their tests with one row per ``by``, in order, and their columns for each horizon."""
    keys = (*RATIOS, *TESTED.values())
    rows: dict[str, dict[str, Any]] = {}
    for row in figures.to_dict(orient="records"):
        own = rows.setdefault(row[by], {by: row[by]})
        own |= {f"{key}_{row['horizon']}d": row.get(key) for key in keys}
    names = [f"{key}_{horizon}d" for horizon in sorted(figures["horizon"].unique()) for key in keys]
    return pd.DataFrame(list(rows.values()), columns=[by, *names])
