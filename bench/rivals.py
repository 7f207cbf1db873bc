"""Compare forecast errors of a release and its rivals at the same cutoffs, all trained up to the same day.

    python bench/rivals.py --home DIR [--peers PYTHON] [--cutoffs 40] [--json]

Takes the release in production below ``--home`` and its last cutoffs all of whose outcomes are known.
Naive, drift, AutoARIMA, AutoETS, Theta and LightGBM are those of ``nsecast backtest``. With ``--peers``, an
interpreter that has neuralforecast, two of its global networks join (`neural_peer`): trained on the log
prices of all stocks to the first cutoff, the release's validation part and what follows it kept for
stopping; they see every close up to each cutoff, weights fixed. A missing forecast is replaced by
the last price.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rich.box
from machine import ROOT, facts, header
from rich.console import Console
from rich.table import Table

from common.prices.windows import Windows
from common.release.learning import windows_until
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from train.pipeline.backtest_period import OURS, BacktestPlan, plan_backtest, summarise_models
from train.pipeline.rivals import rival_table
from train.rivals.baselines import forecast_from, log_path

BASELINES = ("naive", "drift", "arima", "ets", "theta", "lightgbm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help="an interpreter with neuralforecast")
    parser.add_argument("--cutoffs", type=int, default=40, metavar="N", help="at most")
    parser.add_argument("--steps", type=int, default=1000, metavar="N", help="of a peer's training, at most")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    options = parser.parse_args()
    environment = facts()
    models = ReleasedModels(Registry(options.home).open("production"))
    study = planned(models, options.home, options.cutoffs)
    started = time.perf_counter()
    document = {"machine": environment, "synthetic": models.panel.synthetic} | backtested(study, options.home)
    document["seconds"] = {"backtest": round(time.perf_counter() - started, 1)}
    if options.peers:
        tables, seconds = peers(study, options.peers, options.steps)
        document["figures"] += summarise_models(tables, study).to_dict(orient="records")
        document["seconds"] |= seconds
    print(json.dumps(document, indent=1)) if options.json else show(document)


def planned(models: ReleasedModels, home: Path, cutoffs: int) -> BacktestPlan:
    """The last cutoffs whose farthest outcome is known, none from before the release was chosen."""
    days = models.panel.dates.to_numpy().astype("datetime64[D]")
    last = len(days) - 1 - models.models.window.horizons[-1]
    start = max(days[last - cutoffs + 1], np.datetime64(models.release.info["valid_end"]))
    return plan_backtest(models, None, home, start=start, end=days[last])


def backtested(study: BacktestPlan, home: Path) -> dict[str, Any]:
    """What ``nsecast backtest`` says of ours and its own rivals."""
    command = [sys.executable, "-m", "nsecast", "backtest", "--home", str(home), "--json"]
    command += ["--from", str(study.start), "--to", str(study.end), "--baselines", ",".join(BASELINES)]
    out = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    record = json.loads(out)
    return {name: record[name] for name in ("release", "from", "to", "source", "figures")}


def peers(study: BacktestPlan, python: Path, steps: int) -> tuple[dict[str, pd.DataFrame], dict[str, float]]:
    """Forecast tables of the peers' networks, and each one's seconds."""
    every = windows_until(study.panel, study.models.models, study.end)
    windows = every.take(every.cutoff >= study.start)
    series, spec = windows.series, windows.spec
    days = np.unique(series.dates)
    path = log_path(series)
    valid = int(
        np.sum((days > np.datetime64(study.models.release.info["train_end"])) & (days <= study.start))
    )
    with tempfile.TemporaryDirectory(prefix="nsecast-bench-") as temporary:
        given, output = Path(temporary) / "in.npz", Path(temporary) / "out.npz"
        np.savez(
            given,
            path=path,
            day=np.searchsorted(days, series.dates),
            offsets=series.offsets,
            cutoffs=np.searchsorted(days, np.unique(windows.cutoff)),
            valid=max(valid, spec.horizons[-1]),
            horizons=np.array(spec.horizons),
            size=spec.size,
            steps=steps,
        )
        command = [python.absolute(), Path(__file__).with_name("neural_peer.py"), given, output]
        quiet = os.environ | {"PYTHONWARNINGS": "ignore"}
        out = subprocess.run(command, cwd=temporary, check=True, stdout=subprocess.PIPE, text=True, env=quiet)
        with np.load(output, allow_pickle=False) as stored:
            ahead = {name: stored[name] for name in stored.files}
    rows = ahead.pop("rows")
    tables = {name: table(windows, path, rows, frame, study) for name, frame in ahead.items()}
    return tables, json.loads(out.stdout.splitlines()[-1])


def table(
    windows: Windows, path: np.ndarray, rows: np.ndarray, ahead: np.ndarray, study: BacktestPlan
) -> pd.DataFrame:
    """Log prices forecast from some rows as the table of a backtest."""
    place = pd.Series(np.arange(len(rows)), index=rows).reindex(windows.end).to_numpy()
    there = ~np.isnan(place)
    change = np.zeros((len(windows), len(windows.spec.horizons)))
    change[there] = ahead[place[there].astype(int)] - path[windows.end[there], None]
    return rival_table(windows, forecast_from(windows, change, failures=int((~there).sum())), study.models)


def show(document: dict[str, Any]) -> None:
    console = Console(width=120, highlight=False)
    console.print(header(document["machine"]), soft_wrap=True)
    console.print(f"{document['release']}, cutoffs {document['from']} to {document['to']}")
    result = pd.DataFrame(document["figures"])
    horizons = sorted(result["horizon"].unique())
    printed = Table(title="relMAE / relRMSE", title_justify="left", box=rich.box.SIMPLE_HEAD)
    for heading in ("model", "MAE KES", *(f"{horizon} d" for horizon in horizons)):
        printed.add_column(heading, justify="left" if heading == "model" else "right")
    for name in dict.fromkeys(result["model"]):
        own = result[result["model"] == name].set_index("horizon")
        cells = [f"{own['rel_mae'][h]:.3f} / {own['rel_rmse'][h]:.3f}" for h in horizons]
        printed.add_row(name, f"{own['mae'].iloc[0]:.3f}", *cells, style="bold" if name == OURS else "")
    console.print(printed)


if __name__ == "__main__":
    main()
