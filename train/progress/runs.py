"""Records of training runs, for other terminals (``nsecast runs``).

A record is ``<home>/runs/<run id>/run.json``: the latest snapshot (see `train.progress.snapshot`) with the
writer's ``pid`` and ``host`` and the time when it was ``updated``, replaced atomically.
"""

import json
import logging
import os
import socket
import sys
import time
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Group
from rich.live import Live

from common import storage
from common.console import console
from common.options import AsJson, Home
from train.progress.console import display_mode, runs_table
from train.progress.snapshot import ENDED, FINISHED, PlainLines, RunView

log = logging.getLogger(__name__)

SILENCE_S = 60.0
"""A run that has not written its record for longer counts as interrupted."""


def write_progress(run_dir: Path, snapshot: dict[str, Any]) -> None:
    """Replace the record of a run; numbers that are not finite are stored as null."""
    stamp = {"pid": os.getpid(), "host": socket.gethostname(), "updated": time.time()}
    storage.write_json(Path(run_dir) / "run.json", storage.finite(snapshot) | stamp)


def read_run(run_dir: Path) -> dict[str, Any] | None:
    """Return the record of one run; None if it is missing or cannot be read."""
    try:
        return _read(storage.up_to_date(Path(run_dir) / "run.json"))
    except FileNotFoundError:
        return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_bytes())
        return record if isinstance(record, dict) and isinstance(record["jobs"], list) else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        log.warning("run=%s unreadable: %s", path.parent, error)
        return None


def list_runs(home: Path) -> list[dict[str, Any]]:
    """Return all runs below ``home``, the newest first.

    Returns
    -------
    list of dict
        ``id``, ``state``, ``started`` and ``updated`` (epoch seconds), ``preset``, ``source``,
        ``jobs_done``, ``jobs_total``, ``pid``, ``host``. The state is ``interrupted`` if the run has not
        ended but its process is gone or silent, and ``unreadable`` if the record cannot be read.
    """
    runs = [_summary(path) for path in storage.fetch_matching(Path(home) / "runs", "*/run.json")]
    return sorted(runs, key=lambda run: (run["started"] or 0.0, run["id"]), reverse=True)


def _summary(path: Path) -> dict[str, Any]:
    record = _read(path)
    state = "unreadable" if record is None else record.get("state", "starting")
    record = record or {}
    if state not in (*ENDED, "unreadable") and not _is_alive(record):
        state = "interrupted"
    jobs = record.get("jobs", [])
    return {
        "id": path.parent.name,
        "state": state,
        "jobs_done": sum(job.get("state") in FINISHED for job in jobs),
        "jobs_total": len(jobs),
    } | {key: record.get(key) for key in ("started", "updated", "preset", "source", "pid", "host")}


def _is_alive(record: dict[str, Any]) -> bool:
    """Whether the record is recent and its writer, if it ran on this host, still exists."""
    if time.time() - (record.get("updated") or 0.0) > SILENCE_S:
        return False
    elsewhere = record.get("host") != socket.gethostname() or not isinstance(record.get("pid"), int)
    return elsewhere or psutil.pid_exists(record["pid"])


def runs(
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the newest run until Ctrl-C.")] = False,
    home: Home = None,
) -> None:
    """List past and running training runs, newest first."""
    if as_json and watch:
        raise typer.BadParameter("choose one of --json and --watch.")
    root = storage.home(home)
    listed = list_runs(root)
    if not listed and not as_json:
        next_step = "; waiting for one. Ctrl-C stops." if watch else ". Start one with `nsecast train`."
        typer.echo(f"No runs in {storage.display_path(root / 'runs')} yet{next_step}", err=True)
    if watch:
        try:
            _watch(root)
        except KeyboardInterrupt:
            raise typer.Exit(0) from None
        listed = list_runs(root)
    if as_json:
        typer.echo(json.dumps(listed, indent=1))
    elif listed:
        console().print(runs_table(listed))


def _watch(home: Path, *, interval_s: float = 1.0) -> None:
    """Redraw the runs and the newest one's jobs until Ctrl-C; off a terminal, write lines until it ends."""
    plain: dict[str, PlainLines] = defaultdict(PlainLines)
    live = None if display_mode(sys.stdout) == "plain" else Live(auto_refresh=False)
    with live or nullcontext():
        while True:
            listed = list_runs(home)
            record = _newest(home, listed)
            if live is not None:
                view = RunView(record, time.time(), reserve=9) if record else ""
                live.update(Group(runs_table(listed[:5]), "", view), refresh=True)
            else:
                for line in plain[listed[0]["id"]].lines(record, time.time()) if record else []:
                    typer.echo(line)
                if listed and listed[0]["state"] in ENDED:
                    return
            time.sleep(interval_s)


def _newest(home: Path, listed: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The record of the newest run, with its state in the list; None if there is none."""
    record = read_run(home / "runs" / listed[0]["id"]) if listed else None
    if record is not None:
        record["state"] = listed[0]["state"]
        if record["state"] in ENDED:
            record.setdefault("finished", record["updated"])
    return record
