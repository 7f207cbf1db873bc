"""Measure the memory of the workers of the command ``nsecast train``, for `scale.py`."""

import datetime as dt
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w
from machine import MEMORY, ROOT, Clock, MemoryOf

from common.release.bundle import GENERAL
from common.synthetic.market import MarketConfig, write_market
from train.run.plan import stored_epochs

WORKERS = 2


def trained_by_command(
    home: Path, symbols: int, days: tuple[dt.date, dt.date], settings: dict[str, Any], *, limit: int
) -> dict[str, Any]:
    """Memory of the workers of ``nsecast train``, from its start until two general networks are trained.

    It is stopped then, before it publishes.
    """
    first, last = days
    write_market(home / "market", MarketConfig(symbols=symbols, first_day=first, last_day=last))
    (home / "settings.toml").write_text(tomli_w.dumps({"seeds": WORKERS, **settings}))
    (home / "universe.toml").write_text(tomli_w.dumps(_universe(home / "market")))
    command = [sys.executable, str(ROOT / "nsecast.py"), "train", "--archive", str(home / "market")]
    command += ["--config", str(home / "settings.toml"), "--universe", str(home / "universe.toml")]
    command += ["--home", str(home / "home"), "--workers", str(WORKERS)]
    memory = MemoryOf("RayTrainWorker", f"RAY_TMPDIR={os.environ['RAY_TMPDIR']}", home)
    clock, until = Clock(), time.monotonic() + limit
    with memory, (home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        tasks = [f"{GENERAL}/seed-{number}" for number in range(WORKERS)]
        while not (done := _trained(home / "home", tasks)) and process.poll() is None:
            if time.monotonic() > until:
                process.kill()
                raise SystemExit(f"nsecast train took longer than {limit} s; raise --limit")
            time.sleep(0.5)
    all_s = clock.lap()
    process.terminate()  # SIGINT may be ignored here, as in a background job
    process.wait(300)
    if not done:
        raise SystemExit(f"nsecast train ended early: {(home / 'log').read_text()[-2000:]}")
    run_dir = next((home / "home" / "runs").glob("*/spec.json")).parent
    return {
        "symbols": symbols,
        "workers": len(memory.largest),
        "epochs": [len(stored_epochs(run_dir, task)) for task in tasks],
        "all_s": all_s,
        **{name: max(item[name] for item in memory.largest.values()) for name in MEMORY},
    }


def _universe(market: Path) -> dict[str, Any]:
    """Every symbol of a market in one sector, none with a model of its own."""
    codes: set[str] = set()
    for path in market.glob("NSE_data_all_stocks_*.csv"):
        column = pd.read_csv(path, usecols=lambda name: name.lower() == "code").iloc[:, 0]
        codes |= set(column.dropna().unique())
    names = sorted(code for code in codes if not code.startswith("^"))
    return {"specific": [], "sectors": {"All": {name: name for name in names}}}


def _trained(home: Path, tasks: list[str]) -> bool:
    runs = list(home.glob("runs/*/tasks"))
    return bool(runs) and all((runs[0] / task / "result.json").exists() for task in tasks)
