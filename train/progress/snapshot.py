"""Draw the progress of a run or a search: as a table with a bar, or as lines for a log.

The progress comes as a *snapshot*, a plain dict::

    {"run": str, "source": str, "preset": str, "started": epoch seconds, "workers": int,
     "state": "starting|training|evaluating|publishing|done|failed",
     "jobs": [{"job": "general" or a symbol, "phase": str, "worker": int or None,
               "state": "waiting|running|done|failed|skipped",
               "epoch": int, "epochs": int, "best_epoch": int or None,
               "loss": float or None, "val_loss": float or None,
               "mae": validation MAE over the naive one, or None,
               "eta_s": float or None, "work_done": float, "work_total": float,
               "reason": str or None}]}

A job may also have ``work_resumed`` (its work that was done before the run started); a run ``pace`` (the
first measurement of its pace, ``{"since": epoch seconds, "work": float}``) and ``finished`` (epoch seconds).
Absent values are drawn as ``-``.

A search (`tune.progress`) has trials as jobs, with the state ``stopped`` too, their ``settings`` as text and
a ``score``. It sets ``noun`` ("trial"), ``columns`` (those of `WIDTHS` that are drawn), ``jobs_ahead`` and
``work_ahead`` (number and work of trials that have no job yet), and ``summary``, a line below the table.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import rich.box
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

SYNTHETIC = "SYNTHETIC DATA"
FINISHED = ("done", "stopped", "failed", "skipped")
"""States of a job that has ended."""
ENDED = ("done", "failed", "interrupted")
"""States of a run that has ended; `train.progress.runs` finds out the last one."""
WIDTHS = {
    **{"job": 9, "worker": 7, "state": 0, "epoch": 7, "loss": 9, "MAE/\nnaive": 8, "score": 8},
    **{"val\nloss": 9, "best\nepoch": 6, "ETA": 8},
}
"""Typical width of each column; the state takes what is left."""
TRAINING = [heading for heading in WIDTHS if heading != "score"]
_STYLES = {"running": "cyan", "done": "green", "stopped": "yellow", "failed": "bold red", "waiting": "dim"}
_PLAIN_INTERVAL_S = 10.0
_RUN_INTERVAL_S = 60.0


def is_synthetic(source: Any) -> bool:
    return "synthetic" in str(source).lower()


def label_title(text: Text, source: Any) -> Text:
    """Append a label to a table's title if the prices are synthetic."""
    if is_synthetic(source):
        text.append("  ").append(f" {SYNTHETIC} ", style="bold black on yellow")
    return text


def format_duration(seconds: float | None) -> str:
    """``42s``, ``3:07`` or ``1:02:07``."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest}s"


def format_number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"


def one_line(value: Any) -> str:
    """Return ``value`` on one line and without control characters; ``-`` if it is missing."""
    if value is None or value == "":
        return "-"
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(value).split()))


def overall(snapshot: dict[str, Any], now: float) -> tuple[float, float | None]:
    """Return the fraction of the run's work that is done, and the seconds left at the pace so far.

    Skipped jobs do not count; the pace leaves out work that was resumed, and the time before ``pace``.
    """
    jobs = [job for job in snapshot.get("jobs", []) if job.get("state") != "skipped"]
    total = sum(job.get("work_total") or 0.0 for job in jobs) + snapshot.get("work_ahead", 0.0)
    done = sum(min(job.get("work_done") or 0.0, job.get("work_total") or 0.0) for job in jobs)
    pace = snapshot.get("pace") or {
        "since": snapshot.get("started", now),
        "work": sum(job.get("work_resumed") or 0.0 for job in jobs),
    }
    fresh, elapsed = done - pace["work"], now - pace["since"]
    if snapshot.get("state") == "done":
        return 1.0, None
    eta = (total - done) * elapsed / fresh if fresh > 0 and elapsed > 0 else None
    return (done / total if total else 0.0), eta


@dataclass
class RunView:
    """A snapshot as a table of jobs above a progress bar, never taller than the terminal."""

    snapshot: dict[str, Any]
    now: float
    note: str = ""
    """A line to add below the bar."""
    reserve: int = 0
    """Lines of the terminal to leave free."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = max(3, console.size.height - 9 - self.reserve) if console.is_terminal else 10_000
        yield self._table(rows, options.max_width)
        if summary := self.snapshot.get("summary"):
            yield Text(summary, overflow="ellipsis", no_wrap=True)
        yield self._footer(options.max_width)
        if self.note:
            yield Text(self.note, style="yellow")

    def _table(self, rows: int, width: int) -> Table:
        run = self.snapshot
        title = label_title(Text(one_line(run.get("run")), style="bold"), run.get("source"))
        state, preset, workers = (one_line(run.get(name)) for name in ("state", "preset", "workers"))
        details = f"{state}, {preset}, {workers} workers"
        title.append(f"  {details}", style="not bold")
        table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, show_edge=False)
        table.padding = (0, 1, 0, 0)
        columns, noun, jobs = run.get("columns", TRAINING), _noun(run), run.get("jobs", [])
        for heading in columns:
            justify: JustifyMethod = "left" if heading in ("job", "state") else "right"
            table.add_column(noun if heading == "job" else heading, justify=justify, no_wrap=True)
        shown = _most_interesting(jobs, rows)
        state_width = max(12, width - 4 - sum(WIDTHS[heading] for heading in columns))
        for job in shown:
            cells = _cells(job, state_width)
            table.add_row(*(cells[heading] for heading in columns))
        if len(shown) < len(jobs):
            rest = {"job": f"+{len(jobs) - len(shown)}", "state": f"more {noun}s"}
            table.add_row(*(Text(rest.get(heading, ""), style="dim") for heading in columns))
        return table

    def _footer(self, width: int) -> Table:
        run, jobs = self.snapshot, self.snapshot.get("jobs", [])
        fraction, eta = overall(run, self.now)
        elapsed = (run.get("finished") or self.now) - run.get("started", self.now)
        total = len(jobs) + run.get("jobs_ahead", 0)
        counts = [f"{sum(job.get('state') in FINISHED for job in jobs)}/{total} {_noun(run)}s"]
        for state in ("stopped", "failed"):
            if count := sum(job.get("state") == state for job in jobs):
                counts.append(f"{count} {state}")
        counts.append(f"{format_duration(elapsed)} elapsed")
        if run.get("state") not in ENDED:
            counts.append(f"ETA {format_duration(eta)}")
        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=1.0, completed=fraction, width=max(10, width - 60))
        grid.add_row(bar, f"{fraction:4.0%}", Text(", ".join(counts), overflow="ellipsis", no_wrap=True))
        return grid


def _most_interesting(jobs: list[dict[str, Any]], rows: int) -> list[dict[str, Any]]:
    """At most ``rows`` jobs in their own order: running ones first, then failed, waiting and done ones."""
    if len(jobs) <= rows:
        return jobs
    rank = {state: rank for rank, state in enumerate(("running", "failed", "waiting", "done"))}
    ranked = sorted(range(len(jobs)), key=lambda i: rank.get(jobs[i].get("state", ""), len(rank)))
    return [jobs[i] for i in sorted(ranked[: rows - 1])]


def _noun(run: dict[str, Any]) -> str:
    return str(run.get("noun", "job"))


def _cells(job: dict[str, Any], state_width: int) -> dict[str, Text]:
    state, mae, score = job.get("state", "waiting"), job.get("mae"), job.get("score")
    phase = None if state in ("waiting", "done") else job.get("phase")
    label = job.get("reason") if state in ("failed", "skipped") else job.get("settings") or phase
    status = Text(f"{state} {one_line(label)}" if label else state, style=_STYLES.get(state, ""))
    status.truncate(state_width, overflow="ellipsis")
    return {
        "job": Text(one_line(job.get("job")), style="bold" if state == "running" else ""),
        "worker": Text(one_line(job.get("worker"))),
        "state": status,
        "epoch": Text(_epoch(job) or "-"),
        "loss": Text(format_number(job.get("loss"))),
        "MAE/\nnaive": Text(format_number(mae), style=against_naive(mae)),
        "score": Text(format_number(score), style=against_naive(score)),
        "val\nloss": Text(format_number(job.get("val_loss"))),
        "best\nepoch": Text(one_line(job.get("best_epoch"))),
        "ETA": Text(format_duration(job.get("eta_s")) if state == "running" else "-"),
    }


def _epoch(job: dict[str, Any]) -> str | None:
    epoch, epochs = job.get("epoch") or 0, job.get("epochs")
    return f"{epoch}/{epochs}" if epochs and (epoch or job.get("state") == "running") else None


def against_naive(ratio: float | None) -> str:
    """Green below 1, where a model beats the last price; red above it."""
    if ratio is None or ratio == 1:
        return ""
    return "green" if ratio < 1 else "red"


class PlainLines:
    """Snapshots as lines for a log: each change of state at once, progress in intervals.

    These are ten seconds for a job and a minute for the run.
    """

    def __init__(self) -> None:
        self._run_state: str | None = None
        self._run_written = 0.0
        self._jobs: dict[str, tuple[str, Any, float]] = {}

    def lines(self, snapshot: dict[str, Any], now: float) -> list[str]:
        """Return the lines that ``snapshot`` adds to those already returned."""
        clock = time.strftime("%H:%M:%S", time.localtime(now))
        news = [f"{clock} {text}" for text in self._job_news(snapshot, now)]
        if snapshot.get("state") != self._run_state or now - self._run_written >= _RUN_INTERVAL_S:
            self._run_state, self._run_written = snapshot.get("state"), now
            line = f"{clock} {_run_fields(snapshot, now)}"
            news.insert(len(news) if self._run_state in ENDED else 0, line)
        return news

    def _job_news(self, snapshot: dict[str, Any], now: float) -> Iterator[str]:
        for job in snapshot.get("jobs", []):
            name, state = one_line(job.get("job")), job.get("state", "waiting")
            progress = (job.get("phase"), job.get("epoch"))
            old_state, old_progress, written = self._jobs.get(name, ("waiting", progress, now))
            due = state == "running" and progress != old_progress and now - written >= _PLAIN_INTERVAL_S
            if state != old_state or due:
                yield f"{_noun(snapshot)}={name} state={state}{_job_fields(job)}"
                old_progress, written = progress, now
            self._jobs[name] = (state, old_progress, written)


def _run_fields(run: dict[str, Any], now: float) -> str:
    fraction, eta = overall(run, now)
    label = f" {SYNTHETIC}" if is_synthetic(run.get("source")) else ""
    return (
        f"run={one_line(run.get('run'))} state={one_line(run.get('state'))} "
        f"preset={one_line(run.get('preset'))}"
        f" workers={run.get('workers')} done={fraction:.0%} eta={format_duration(eta)}{label}"
        + (f" {run['summary']}" if run.get("summary") else "")
    )


def _job_fields(job: dict[str, Any]) -> str:
    values = {
        "worker": job.get("worker"),
        "phase": job.get("phase") and repr(one_line(job["phase"])),
        "settings": job.get("settings") and repr(one_line(job["settings"])),
        "epoch": _epoch(job),
        "best_epoch": job.get("best_epoch"),
        "eta": format_duration(job.get("eta_s")) if job.get("state") == "running" else None,
        "reason": job.get("reason") and repr(one_line(job["reason"])),
    }
    values |= {
        key: format_number(job[key])
        for key in ("loss", "mae", "val_loss", "score")
        if job.get(key) is not None
    }
    return "".join(f" {key}={value}" for key, value in values.items() if value is not None)
