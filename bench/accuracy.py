"""The accuracy tables of README.md and docs/results.md, from a release and the backtest of its test part.

    nsecast backtest --release ID --from D --to D
    python bench/accuracy.py --release ID --from D --to D [--home DIR] [--networks served]

Reads the backtest's forecasts from the storage root and prints Markdown; trains and forecasts nothing.
"""

import argparse
import json
from pathlib import Path

import pandas as pd
from machine import facts, header
from tables import markdown

from common import storage
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from train.evaluation.evidence import add_stock_columns, load_evidence, reliability
from train.evaluation.questions import answers
from train.evaluation.summary import summarise
from train.pipeline.backtest_period import OURS

INSIDE = (0.85, 0.95)
"""Shares of a stock's outcomes that its 90 % intervals may cover."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", type=Path, help="default: $NSECAST_HOME, else ./nsecast-data")
    parser.add_argument("--release", default="production")
    parser.add_argument("--from", dest="start", required=True)
    parser.add_argument("--to", dest="end", required=True)
    parser.add_argument("--networks", choices=("evaluated", "served"), default="evaluated")
    options = parser.parse_args()
    home = storage.home(options.home)
    models = ReleasedModels(Registry(home).open(options.release))
    records = (home / "backtests" / models.release.id).glob(f"{options.start}_{options.end}-*/backtest.json")
    stored = {path.parent: json.loads(path.read_bytes()) for path in records}
    folders = [f for f, record in stored.items() if record.get("networks", "evaluated") == options.networks]
    if not folders:
        parser.error(f"no backtest of these days in {home / 'backtests'}: run `nsecast backtest` first.")
    folder = max(folders, key=lambda folder: (folder / "backtest.json").stat().st_mtime)
    record = stored[folder]
    table = add_stock_columns(pd.read_parquet(folder / f"{OURS}.parquet"), models.universe)
    what = f"cutoffs {options.start} to {options.end}, {options.networks} networks, weights fixed"
    print(f"{header(facts())}\n\n{models.release.id}, {what}\n")
    figures = pd.DataFrame(record["figures"])
    print(
        readme(figures),
        ratios(figures),
        intervals(figures),
        by_stock(table),
        moves(table),
        groups(table),
        sep="\n",
    )
    for answer in answers(load_evidence(models, home)):
        print(f"**{answer.question}** {answer.answer}\n")


def readme(figures: pd.DataFrame) -> str:
    """Return the table of README.md; rivals that the backtest did not run have no row."""
    first, *later = sorted(figures["horizon"].unique())
    by_model = figures.set_index(["model", "horizon"])
    ours = by_model.loc[OURS]
    rows = [
        ("", "MAE KES", "ratio to naive"),
        ("naive", f"{ours.loc[first, 'naive_mae']:.3f}", "1"),
        (
            "**nsecast, published price**",
            f"**{ours.loc[first, 'mae']:.3f}**",
            f"**{_short(ours.loc[first, 'rel_mae'])}** (squared error of the raw price: "
            f"**{_short(ours.loc[first, 'rel_rmse'])}**)",
        ),
        (
            f"{' / '.join(map(str, later))} days ahead",
            "",
            " / ".join(_short(ours.loc[h, "rel_mae"]) for h in later),
        ),
    ]
    rivals = {
        "lightgbm": "LightGBM on the same inputs",
        "v4_log": "the original design, `--preset v4_log`",
    }
    for name, words in rivals.items():
        if (name, first) in by_model.index:
            near = by_model.loc[(name, first)]
            ratio = f"{_short(near['rel_mae'])} ({_short(near['rel_rmse'])})"
            rows.append((words, f"{near['mae']:.3f}", ratio))
    return markdown(rows)


def _short(ratio: float) -> str:
    return f"{ratio:.3f}".removeprefix("0")


def ratios(figures: pd.DataFrame) -> str:
    horizons = sorted(figures["horizon"].unique())
    rows = [("model", "MAE KES, 1 d", *(f"{h} d" for h in horizons))]
    for name in dict.fromkeys(figures["model"]):
        own = figures[figures["model"] == name].set_index("horizon")
        pairs = [_pair(own.loc[h]) if h in own.index else "-" for h in horizons]
        rows.append((name, f"{own['mae'].iloc[0]:.3f}", *pairs))
    return markdown(rows)


def intervals(figures: pd.DataFrame) -> str:
    rows = [("intervals", "days", "80 %", "90 %", "95 %", "pinball / last price's")]
    for row in figures[figures["cover90"].notna()].to_dict(orient="records"):
        shares = [f"{row[f'cover{level}']:.3f} ({row[f'width{level}']:.1f} %)" for level in (80, 90, 95)]
        rows.append((row["model"], row["horizon"], *shares, f"{row['pinball'] / row['naive_pinball']:.3f}"))
    return markdown(rows)


def by_stock(table: pd.DataFrame) -> str:
    summary = summarise(table, ["horizon", "symbol"])
    summary = summary[summary["moved_share"] > 0]
    rows = [("days", "stocks", "90 % intervals cover 85 to 95 %", "lowest", "highest", "better", "worse")]
    for horizon, own in summary.groupby("horizon"):
        inside = own["cover90"].between(*INSIDE).mean()
        clear = own[own["dm_sq_p"] < 0.05]
        better, worse = clear[clear["dm_sq_stat"] < 0], clear[clear["dm_sq_stat"] > 0]
        low, high = own.loc[own["cover90"].idxmin()], own.loc[own["cover90"].idxmax()]
        cells = [f"{row['symbol']} {row['cover90']:.2f}" for row in (low, high)]
        names = ", ".join(worse["symbol"]) or "none"
        rows.append((horizon, len(own), f"{inside:.0%} of them", *cells, len(better), names))
    return markdown(rows)


def moves(table: pd.DataFrame) -> str:
    near = table[(table["horizon"] == table["horizon"].min()) & table["actual"].notna() & ~table["frozen"]]
    rows = [("p_move forecast", "forecasts", "mean forecast", "seen")]
    moved = (near["actual"] != near["last_price"]).to_numpy()
    for row in reliability(near, "p_move", moved).itertuples():
        rows.append(
            (
                f"{row.bin * 10} to {row.bin * 10 + 10} %",
                f"{row.n:,}",
                f"{row.forecast:.3f}",
                f"{row.seen:.3f}",
            )
        )
    return markdown(rows)


def groups(table: pd.DataFrame) -> str:
    rows = [("one day ahead", "forecasts", "relMAE / relRMSE", "MAPE / naive", "right of called moves")]
    for by in ("tier", "sector"):
        near = summarise(table, ["horizon", by])
        near = near[(near["horizon"] == near["horizon"].min()) & (near["n"] > 0)]
        for row in near.to_dict(orient="records"):
            called = f"{row['direction']:.0%} of {int(row['direction_n']):,}" if row["direction_n"] else "-"
            mape = f"{row['mape']:.2f} / {row['naive_mape']:.2f} %"
            rows.append((row[by], f"{row['n']:,}", _pair(row), mape, called))
    return markdown(rows)


def _pair(row: "pd.Series | dict[str, float]") -> str:
    parts = [
        f"{row[ratio]:.3f}{_stars(row[p])}" for ratio, p in (("rel_mae", "dm_abs_p"), ("rel_rmse", "dm_sq_p"))
    ]
    return " / ".join(parts)


def _stars(p: float) -> str:
    return r"\*\*" if p < 0.01 else r"\*" if p < 0.05 else ""


if __name__ == "__main__":
    main()
