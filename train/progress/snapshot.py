"""Drawing the progress of a training run: as a table with a bar, or as lines for a log.

The progress comes as a *snapshot*, a plain dict::

    {"run": str, "source": str, "preset": str, "started": epoch seconds, "workers": int,
     "state": "starting|training|evaluating|publishing|done|failed",
     "jobs": [{"job": "general" or a symbol, "phase": str, "worker": int or None,
               "state": "waiting|running|resumed|done|failed|skipped",
               "epoch": int, "epochs": int, "best_epoch": int or None,
               "loss": float or None, "val_loss": float or None,
               "mae": validation MAE over the naive one, or None,
               "eta_s": float or None, "work_done": float, "work_total": float,
               "reason": str or None}]}

``work_resumed`` (work a job had behind it when the run began), ``pace`` (from when on the pace counts, as
``{"since": epoch seconds, "work": float}``) and ``finished`` (epoch seconds) are optional. Absent values are
drawn as ``-``.
"""

import math
import time
from collections.abc import Iterator
from typing import Any

import rich.box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

SYNTHETIC = "SYNTHETIC DATA"
ACTIVE, FINISHED = ("running", "resumed"), ("done", "failed", "skipped")
"""States of a job."""
ENDED = ("done", "failed", "interrupted")
"""States of a run; the last is the reader's finding, see `train.progress.runs`."""
_STYLES = {"running": "cyan", "resumed": "cyan", "done": "green", "failed": "bold red", "waiting": "dim"}
_PLAIN_INTERVAL_S = 10.0


def is_synthetic(source: Any) -> bool:
    return "synthetic" in str(source).lower()


def duration(seconds: float | None) -> str:
    """``42s``, ``3:07`` or ``1:02:07``."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest}s"


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"


def flat(value: Any) -> str:
    """``value`` on one line and without control characters, ``-`` if there is none."""
    if value is None or value == "":
        return "-"
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(value).split()))


def overall(snapshot: dict[str, Any], now: float) -> tuple[float, float | None]:
    """The fraction of the run's work that is done, and the seconds left at the pace so far.

    Skipped jobs count for nothing, and not for the pace: work resumed from an earlier run, and the start.
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


class RunView:
    """A snapshot as a table of jobs with the overall bar beneath, never taller than the terminal.

    ``note`` is added beneath; ``reserve`` is how many lines of the terminal others need.
    """

    def __init__(self, snapshot: dict[str, Any], now: float, note: str = "", reserve: int = 0) -> None:
        self.snapshot, self.now, self.note, self.reserve = snapshot, now, note, reserve

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = max(3, console.size.height - 9 - self.reserve) if console.is_terminal else 10_000
        yield self._table(rows, max(12, options.max_width - 67))
        yield self._footer(options.max_width)
        if self.note:
            yield Text(self.note, style="yellow")

    def _table(self, rows: int, state_width: int) -> Table:
        run = self.snapshot
        title = Text(flat(run.get("run")), style="bold")
        if is_synthetic(run.get("source")):
            title.append("  ").append(f" {SYNTHETIC} ", style="bold black on yellow")
        details = f"{flat(run.get('state'))}, {flat(run.get('preset'))}, {flat(run.get('workers'))} workers"
        title.append(f"  {details}", style="not bold")
        table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, show_edge=False)
        table.padding = (0, 1, 0, 0)
        for heading in (
            "job",
            "worker",
            "state",
            "epoch",
            "loss",
            "MAE/\nnaive",
            "val\nloss",
            "best\nepoch",
            "ETA",
        ):
            table.add_column(
                heading, justify="left" if heading in ("job", "state") else "right", no_wrap=True
            )
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
        counts.append(f"{duration(elapsed)} elapsed")
        if run.get("state") not in ENDED:
            counts.append(f"ETA {duration(eta)}")
        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=1.0, completed=fraction, width=max(10, width - 60))
        grid.add_row(bar, f"{fraction:4.0%}", Text(", ".join(counts)))
        return grid


def _most_interesting(jobs: list[dict[str, Any]], rows: int) -> list[dict[str, Any]]:
    """At most ``rows`` jobs in their own order: those at work, then failed, waiting and done ones."""
    if len(jobs) <= rows:
        return jobs
    order = {state: rank for rank, state in enumerate((*ACTIVE, "failed", "waiting", "done", "skipped"))}
    ranked = sorted(range(len(jobs)), key=lambda i: (order.get(jobs[i].get("state", ""), len(order)), i))
    return [jobs[i] for i in sorted(ranked[: rows - 1])]


def _cells(job: dict[str, Any], state_width: int) -> list[Text]:
    state, mae = job.get("state", "waiting"), job.get("mae")
    label = {"failed": job.get("reason"), "skipped": job.get("reason")}.get(state, job.get("phase"))
    text = f"{state} {flat(label)}" if label and state not in ("waiting", "done") else state
    status = Text(text, style=_STYLES.get(state, ""))
    status.truncate(state_width, overflow="ellipsis")
    return [
        Text(flat(job.get("job")), style="bold" if state in ACTIVE else ""),
        Text(flat(job.get("worker"))),
        status,
        Text(_epoch(job) or "-"),
        Text(number(job.get("loss"))),
        Text(number(mae), style=against_naive(mae)),
        Text(number(job.get("val_loss"))),
        Text(flat(job.get("best_epoch"))),
        Text(duration(job.get("eta_s")) if state in ACTIVE else "-"),
    ]


def _epoch(job: dict[str, Any]) -> str | None:
    epoch, epochs = job.get("epoch") or 0, job.get("epochs")
    return f"{epoch}/{epochs}" if epochs and (epoch or job.get("state") in ACTIVE) else None


def against_naive(ratio: float | None) -> str:
    """Green below 1, where a model beats the last price; red above it."""
    if ratio is None or ratio == 1:
        return ""
    return "green" if ratio < 1 else "red"


class PlainLines:
    """Snapshots as lines for a log: each change of state at once, progress every ten seconds a job."""

    def __init__(self) -> None:
        self._run_state: str | None = None
        self._jobs: dict[str, tuple[str, Any, float]] = {}

    def lines(self, snapshot: dict[str, Any], now: float) -> list[str]:
        """The lines that ``snapshot`` adds to those already given."""
        clock = time.strftime("%H:%M:%S", time.localtime(now))
        news = [f"{clock} {text}" for text in self._job_news(snapshot, now)]
        if snapshot.get("state") != self._run_state:
            self._run_state = snapshot.get("state")
            line = f"{clock} {_run_fields(snapshot, now)}"
            news.insert(len(news) if self._run_state in ENDED else 0, line)
        return news

    def _job_news(self, snapshot: dict[str, Any], now: float) -> Iterator[str]:
        for job in snapshot.get("jobs", []):
            name, state = flat(job.get("job")), job.get("state", "waiting")
            progress = (job.get("phase"), job.get("epoch"))
            old_state, old_progress, said = self._jobs.get(name, ("waiting", progress, now))
            due = state in ACTIVE and progress != old_progress and now - said >= _PLAIN_INTERVAL_S
            if state != old_state or due:
                yield f"job={name} state={state}{_job_fields(job)}"
                old_progress, said = progress, now
            self._jobs[name] = (state, old_progress, said)


def _run_fields(run: dict[str, Any], now: float) -> str:
    fraction, eta = overall(run, now)
    label = f" {SYNTHETIC}" if is_synthetic(run.get("source")) else ""
    return (
        f"run={flat(run.get('run'))} state={flat(run.get('state'))} preset={flat(run.get('preset'))}"
        f" workers={run.get('workers')} done={fraction:.0%} eta={duration(eta)}{label}"
    )


def _job_fields(job: dict[str, Any]) -> str:
    values = {
        "worker": job.get("worker"),
        "phase": job.get("phase") and repr(flat(job["phase"])),
        "epoch": _epoch(job),
        "best_epoch": job.get("best_epoch"),
        "eta": duration(job.get("eta_s")) if job.get("state") in ACTIVE else None,
        "reason": job.get("reason") and repr(flat(job["reason"])),
    }
    values |= {key: number(job[key]) for key in ("loss", "mae", "val_loss") if job.get(key) is not None}
    return "".join(f" {key}={value}" for key, value in values.items() if value is not None)
