"""The release's report: one HTML file that needs nothing else."""

from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from common import storage
from train.workbench import RunSpec

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;
  color-scheme:light dark}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #8884}
th{position:sticky;top:0;background:Canvas} td:first-child,th:first-child{text-align:left}
.wide{overflow-x:auto}.warn{background:#fd0;color:#000;padding:.5rem 1rem;font-weight:600}
.good{color:#080}.bad{color:#c00}@media(prefers-color-scheme:dark){.good{color:#6d6}.bad{color:#f77}}
"""
RATIOS = (
    "relMAE and relRMSE are ratios to the naive forecast, the last price, of errors in percent of the last "
    "price: below 1 is better than naive."
)


def write_report(
    path: Path, release_id: str, spec: RunSpec, rows: list[dict[str, Any]], matrix: pd.DataFrame
) -> None:
    """Write ``report.html``: test errors by job and the performance matrix, next to naive."""
    headings = ["job", "model", "n", "mae_kes", "naive_mae_kes", "rel_mae", "rel_rmse", "state"]
    jobs = pd.DataFrame(rows).reindex(columns=headings)
    shown = ["symbol", "sector", "model"]
    for horizon in spec.config.window.horizons:
        names = ("n", "mae", "naive_mae", "rel_mae", "rel_rmse")
        shown += [f"{name}_{horizon}d" for name in names]
    warning = ""
    if "synthetic" in spec.source:
        warning = '<p class="warn">Synthetic data: every price here was invented.</p>'
    storage.write_bytes(
        path,
        f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(release_id)}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style>
<h1>{escape(release_id)}</h1>{warning}
<p>Preset {escape(spec.config.preset)}, data {escape(spec.source)}. Errors on the test part,
which no model saw; prices in KES. {RATIOS}</p>
<h2>The nearest horizon, by job</h2><div class="wide">{_table(jobs)}</div>
<h2>Every counter</h2><div class="wide">{_table(matrix[shown])}</div>
<p>Not investment advice.</p></html>""".encode(),
    )


def _table(frame: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(name))}</th>" for name in frame.columns)
    body = "".join(
        "<tr>" + "".join(_cell(name, value) for name, value in zip(frame.columns, row, strict=True)) + "</tr>"
        for row in frame.itertuples(index=False)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(name: str, value: Any) -> str:
    if value is None or value != value:
        return "<td>-</td>"
    if not isinstance(value, float):
        return f"<td>{escape(str(value))}</td>"
    kind = (" class=good" if value < 1 else " class=bad") if name.startswith("rel_") else ""
    return f"<td{kind}>{value:.3f}</td>"
