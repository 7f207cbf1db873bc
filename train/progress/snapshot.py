"""Draw the progress of a training run: as a table with a bar, or as lines for a log.

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
FINISHED = ("done", "failed", "skipped")
"""States of a job that has ended."""
ENDED = ("done", "failed", "interrupted")
"""States of a run that has ended; `train.progress.runs` finds out the last one."""
_STYLES = {"running": "cyan", "done": "green", "failed": "bold red", "waiting": "dim"}
_PLAIN_INTERVAL_S = 10.0


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
    total = sum(job.get("work_total") or 0.0 for job in jobs)
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
        yield self._table(rows, max(12, options.max_width - 67))
        yield self._footer(options.max_width)
        if self.note:
            yield Text(self.note, style="yellow")

    def _table(self, rows: int, state_width: int) -> Table:
        run = self.snapshot
        title = label_title(Text(one_line(run.get("run")), style="bold"), run.get("source"))
        state, preset, workers = (one_line(run.get(name)) for name in ("state", "preset", "workers"))
        details = f"{state}, {preset}, {workers} workers"
        title.append(f"  {details}", style="not bold")
        table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, show_edge=False)
        table.padding = (0, 1, 0, 0)
        headings = "job", "worker", "state", "epoch", "loss", "MAE/\nnaive", "val\nloss", "best\nepoch", "ETA"
        for heading in headings:
            justify: JustifyMethod = "left" if heading in ("job", "state") else "right"
            table.add_column(heading, justify=justify, no_wrap=True)
        jobs = run.get("jobs", [])
        shown = _most_interesting(jobs, rows)
        for job in shown:
            table.add_row(*_cells(job, state_width))
        if len(shown) < len(jobs):
            table.add_row(Text(f"+{len(jobs) - len(shown)}", style="dim"), "", Text("more jobs", style="dim"))
        return table

    def _footer(self, width: int) -> Table:
        run, jobs = self.snapshot, self.snapshot.get("jobs", [])
        fraction, eta = overall(run, self.now)
        elapsed = (run.get("finished") or self.now) - run.get("started", self.now)
        counts = [f"{sum(job.get('state') in FINISHED for job in jobs)}/{len(jobs)} jobs"]
        if failed := sum(job.get("state") == "failed" for job in jobs):
            counts.append(f"{failed} failed")
        counts.append(f"{format_duration(elapsed)} elapsed")
        if run.get("state") not in ENDED:
            counts.append(f"ETA {format_duration(eta)}")
        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=1.0, completed=fraction, width=max(10, width - 60))
        grid.add_row(bar, f"{fraction:4.0%}", Text(", ".join(counts)))
        return grid


def _most_interesting(jobs: list[dict[str, Any]], rows: int) -> list[dict[str, Any]]:
    """At most ``rows`` jobs in their own order: running ones first, then failed, waiting and done ones."""
    if len(jobs) <= rows:
        return jobs
    rank = {state: rank for rank, state in enumerate(("running", "failed", "waiting", "done"))}
    ranked = sorted(range(len(jobs)), key=lambda i: rank.get(jobs[i].get("state", ""), len(rank)))
    return [jobs[i] for i in sorted(ranked[: rows - 1])]


def _cells(job: dict[str, Any], state_width: int) -> list[Text]:
    state, mae = job.get("state", "waiting"), job.get("mae")
    label = {"failed": job.get("reason"), "skipped": job.get("reason")}.get(state, job.get("phase"))
    text = f"{state} {one_line(label)}" if label and state not in ("waiting", "done") else state
    status = Text(text, style=_STYLES.get(state, ""))
    status.truncate(state_width, overflow="ellipsis")
    return [
        Text(one_line(job.get("job")), style="bold" if state == "running" else ""),
        Text(one_line(job.get("worker"))),
        status,
        Text(_epoch(job) or "-"),
        Text(format_number(job.get("loss"))),
        Text(format_number(mae), style=against_naive(mae)),
        Text(format_number(job.get("val_loss"))),
        Text(one_line(job.get("best_epoch"))),
        Text(format_duration(job.get("eta_s")) if state == "running" else "-"),
    ]


def _epoch(job: dict[str, Any]) -> str | None:
    epoch, epochs = job.get("epoch") or 0, job.get("epochs")
    return f"{epoch}/{epochs}" if epochs and (epoch or job.get("state") == "running") else None


def against_naive(ratio: float | None) -> str:
    """Green below 1, where a model beats the last price; red above it."""
    if ratio is None or ratio == 1:
        return ""
    return "green" if ratio < 1 else "red"


class PlainLines:
    """Snapshots as lines for a log: each change of state at once, a job's progress every ten seconds."""

    def __init__(self) -> None:
        self._run_state: str | None = None
        self._jobs: dict[str, tuple[str, Any, float]] = {}

    def lines(self, snapshot: dict[str, Any], now: float) -> list[str]:
        """Return the lines that ``snapshot`` adds to those already returned."""
        clock = time.strftime("%H:%M:%S", time.localtime(now))
        news = [f"{clock} {text}" for text in self._job_news(snapshot, now)]
        if snapshot.get("state") != self._run_state:
            self._run_state = snapshot.get("state")
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
                yield f"job={name} state={state}{_job_fields(job)}"
                old_progress, written = progress, now
            self._jobs[name] = (state, old_progress, written)


def _run_fields(run: dict[str, Any], now: float) -> str:
    fraction, eta = overall(run, now)
    label = f" {SYNTHETIC}" if is_synthetic(run.get("source")) else ""
    return (
        f"run={one_line(run.get('run'))} state={one_line(run.get('state'))} "
        f"preset={one_line(run.get('preset'))}"
        f" workers={run.get('workers')} done={fraction:.0%} eta={format_duration(eta)}{label}"
    )


def _job_fields(job: dict[str, Any]) -> str:
    values = {
        "worker": job.get("worker"),
        "phase": job.get("phase") and repr(one_line(job["phase"])),
        "epoch": _epoch(job),
        "best_epoch": job.get("best_epoch"),
        "eta": format_duration(job.get("eta_s")) if job.get("state") == "running" else None,
        "reason": job.get("reason") and repr(one_line(job["reason"])),
    }
    values |= {
        key: format_number(job[key]) for key in ("loss", "mae", "val_loss") if job.get(key) is not None
    }
    return "".join(f" {key}={value}" for key, value in values.items() if value is not None)
