"""Run records: what a training run is doing, readable from another terminal (``nsecast runs``).

Each run keeps ``<home>/runs/<run id>/run.json``: its latest snapshot (see `train.progress.snapshot`) with the
writer's ``pid`` and ``host`` and the time it was ``updated``, replaced atomically.
"""

import json
import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live

from common import storage
from common.options import AsJson, Home
from train.progress.console import display_mode, runs_table
from train.progress.snapshot import ENDED, FINISHED, PlainLines, RunView

log = logging.getLogger(__name__)

SILENCE_S = 60.0
"""A run that has not written for longer than this is taken for interrupted."""


def write_progress(run_dir: Path, snapshot: dict[str, Any]) -> None:
    """Replace the record of a run; a number that is not finite is stored as null."""
    stamp = {"pid": os.getpid(), "host": socket.gethostname(), "updated": time.time()}
    storage.write_json(Path(run_dir) / "run.json", storage.finite(snapshot) | stamp)


def read_run(run_dir: Path) -> dict[str, Any] | None:
    """The record of one run; None if it has not written one or it cannot be read."""
    try:
        return _read(storage.current(Path(run_dir) / "run.json"))
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
    """All runs below ``home``, the newest first.

    Returns
    -------
    list of dict
        ``id``, ``state``, ``started`` and ``updated`` (epoch seconds), ``preset``, ``source``,
        ``jobs_done``, ``jobs_total``, ``pid``, ``host``. A run that has not ended, but whose process is
        gone or silent, has the state ``interrupted``; one whose record cannot be read, ``unreadable``.
    """
    runs = [_summary(path) for path in storage.found(Path(home) / "runs", "*/run.json")]
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
    """Whether the writer spoke lately and, if it runs on this host, still exists."""
    if time.time() - (record.get("updated") or 0.0) > SILENCE_S:
        return False
    pid = record.get("pid")
    if record.get("host") != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def runs(
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the newest run until Ctrl-C.")] = False,
    home: Home = None,
) -> None:
    """List past and running training runs, newest first."""
    if as_json and watch:
        raise typer.BadParameter("choose one of --json and --watch.")
    root = storage.home(home)
    if watch:
        try:
            _watch(root)
        except KeyboardInterrupt:
            raise typer.Exit(0) from None
    found = list_runs(root)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    elif found:
        Console(width=None if sys.stdout.isatty() else 160).print(runs_table(found))
    else:
        where = storage.shown(root / "runs")
        typer.echo(f"No runs in {where} yet. Start one with `nsecast train`.", err=True)


def _watch(home: Path, *, interval_s: float = 1.0) -> None:
    """Redraw the runs, and the jobs of the newest one, until interrupted; lines end with the newest run."""
    if not list_runs(home):
        where = storage.shown(home / "runs")
        typer.echo(f"No runs in {where} yet; waiting for one. Ctrl-C stops.", err=True)
    if display_mode(sys.stdout) == "plain":
        plain: dict[str, PlainLines] = {}
        while True:
            found = list_runs(home)
            for name, record in _newest(home, found):
                for line in plain.setdefault(name, PlainLines()).lines(record, time.time()):
                    typer.echo(line)
            if found and found[0]["state"] in ENDED:
                return
            time.sleep(interval_s)
    with Live(auto_refresh=False) as live:
        while True:
            found = list_runs(home)
            views = [RunView(record, time.time(), reserve=9) for _, record in _newest(home, found)]
            live.update(Group(runs_table(found[:5]), "", *views), refresh=True)
            time.sleep(interval_s)


def _newest(home: Path, found: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The newest run's name and record with the state the list gives it; empty if there is none."""
    record = read_run(home / "runs" / found[0]["id"]) if found else None
    if record is None:
        return []
    record["state"] = found[0]["state"]
    if record["state"] in ENDED:
        record.setdefault("finished", record["updated"])
    return [(found[0]["id"], record)]
