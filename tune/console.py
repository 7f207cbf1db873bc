"""The terminal output of a search: the live table, its log lines, and the closing table.

Progress is a *snapshot*, a plain dict::

    {"search": str, "source": str, "model": str, "state": "starting|searching|refitting|done",
     "started": epoch seconds, "concurrent": int,
     "epochs_total": int, of one trial over all folds, "trials_total": int, "trials_done": int,
     "trials_compared": int, comparison trials among the total,
     "best": {"trial", "score", "parameters"} or None, "default_score": float or None,
     "eta_s": float or None,
     "trials": [{"trial": int or str, "origin": "sweep|search|refit",
                 "state": "waiting|running|done|stopped|failed", "parameters": {name: value},
                 "fold": int or None, "epoch": int or None, "done": epochs done,
                 "loss": float or None, "score": float or None, "eta_s": float or None,
                 "reason": str or None}]}

Absent values are drawn as ``-``.
"""

import time
from collections.abc import Iterator
from typing import Any

import rich.box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from train.progress.snapshot import (
    SYNTHETIC,
    against_naive,
    format_duration,
    format_number,
    is_synthetic,
    one_line,
)
from tune import labels
from tune.results import Tuning, cleaned, default_score, finished

BEST = 5
"""Finished trials in the closing table, and at most in the live table."""
OVER = ("done", "stopped", "failed")
"""States of a trial that has ended."""
_STYLES = {"running": "cyan", "done": "green", "failed": "bold red", "stopped": "yellow", "waiting": "dim"}
_PLAIN_INTERVAL_S = 10.0
_WIDE = 112
"""Terminal width from which sizes are named and states explained."""


class SearchView:
    """A snapshot as a table of running trials and the best so far, never taller than the terminal."""

    def __init__(self, snapshot: dict[str, Any], now: float, note: str = "") -> None:
        self.snapshot, self.now, self.note = snapshot, now, note

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = max(3, console.size.height - 10) if console.is_terminal else 10_000
        yield self._table(rows, wide=options.max_width >= _WIDE)
        yield _best_line(self.snapshot)
        yield Text(_work_line(self.snapshot), overflow="ellipsis", no_wrap=True)
        yield self._footer(options.max_width)
        if self.note:
            yield Text(self.note, style="yellow")

    def _table(self, rows: int, *, wide: bool) -> Table:
        search = self.snapshot
        title = Text(one_line(search.get("search")), style="bold")
        if is_synthetic(search.get("source")):
            title.append("  ").append(f" {SYNTHETIC} ", style="bold black on yellow")
        details = (search.get("state"), search.get("model"), f"{one_line(search.get('concurrent'))} at once")
        title.append("  " + ", ".join(map(one_line, details)), style="not bold")
        table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, show_edge=False)
        table.padding = (0, 1, 0, 0)
        sizes = "sizes" if wide else "emb lstm dense win"
        for heading in ("trial", sizes, "rate", "fold", "epoch", "loss", "score", "state"):
            left = heading in (sizes, "state")
            table.add_column(heading, justify="left" if left else "right", no_wrap=True)
        for trial in shown_trials(search.get("trials", []), rows):
            table.add_row(*_cells(trial, wide=wide))
        return table

    def _footer(self, width: int) -> Table:
        search = self.snapshot
        grid = Table.grid(padding=(0, 1))
        fraction = overall(search)
        bar = ProgressBar(total=1.0, completed=fraction, width=max(8, width - 62))
        counts = [f"{search.get('trials_done', 0)}/{search.get('trials_total', 0)} trials"]
        for state in ("stopped", "failed"):
            if count := sum(trial.get("state") == state for trial in search.get("trials", [])):
                counts.append(f"{count} {state}")
        counts.append(f"{format_duration(self.now - search.get('started', self.now))} elapsed")
        if search.get("state") != "done":
            counts.append(f"ETA {format_duration(search.get('eta_s'))}")
        grid.add_row(bar, f"{fraction:4.0%}", Text(", ".join(counts), overflow="ellipsis", no_wrap=True))
        return grid


class SearchLines:
    """Snapshots as log lines: each trial's start and end at once, the progress every ten seconds."""

    def __init__(self) -> None:
        self._state: str | None = None
        self._trials: dict[Any, str] = {}
        self._last_line = 0.0

    def lines(self, snapshot: dict[str, Any], now: float) -> list[str]:
        """Return the lines that this snapshot adds."""
        clock = time.strftime("%H:%M:%S", time.localtime(now))
        new = [f"{clock} {text}" for text in self._trial_lines(snapshot)]
        changed = snapshot.get("state") != self._state
        if changed or now - self._last_line >= _PLAIN_INTERVAL_S:
            self._state, self._last_line = snapshot.get("state"), now
            new.insert(len(new) if self._state == "done" else 0, f"{clock} {_search_fields(snapshot)}")
        return new

    def _trial_lines(self, snapshot: dict[str, Any]) -> Iterator[str]:
        for trial in snapshot.get("trials", []):
            name, state = trial.get("trial"), trial.get("state", "waiting")
            if state != self._trials.get(name, "waiting"):
                yield f"trial={one_line(name)} state={one_line(state)}{_trial_fields(trial)}"
            self._trials[name] = state


def shown_trials(trials: list[dict[str, Any]], rows: int) -> list[dict[str, Any]]:
    """Return at most ``rows`` trials: running ones, the newest failure, then the best finished ones."""
    running = [trial for trial in trials if trial.get("state") == "running"][:rows]
    failed = [trial for trial in trials if trial.get("state") == "failed"][-1:]
    done = [trial for trial in trials if trial.get("state") == "done" and trial.get("score") is not None]
    done = sorted(done, key=lambda trial: trial["score"])[:BEST]
    return [*running, *failed, *done][:rows]


def overall(snapshot: dict[str, Any]) -> float:
    """Return the fraction of the trials that is done; running trials count by their epochs."""
    if snapshot.get("state") == "done":
        return 1.0
    total, epochs = snapshot.get("trials_total") or 0, snapshot.get("epochs_total") or 0
    running = [trial for trial in snapshot.get("trials", []) if trial.get("state") == "running"]
    part = sum(min(1.0, (trial.get("done") or 0) / epochs) for trial in running) if epochs else 0.0
    return min(1.0, ((snapshot.get("trials_done") or 0) + part) / total) if total else 0.0


def best_table(tuning: Tuning) -> Table:
    """Return the closing table: the best finished trials and the default, scored on validation."""
    tuning = cleaned(tuning)
    title = Text("Best trials on validation (naive = 1)")
    if is_synthetic(tuning.info["source"]):
        title.append("  ").append(f" {SYNTHETIC} ", style="bold black on yellow")
    table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, show_edge=False)
    table.padding = (0, 1, 0, 0)
    table.add_column("trial")
    for heading in ("score", *map(labels.label, tuning.parameters), "weights", "seconds"):
        table.add_column(heading, justify="right")
    for row in finished(tuning).head(BEST).to_dict(orient="records"):
        costs = [f"{row[cost]:,.0f}" for cost in ("weights", "seconds")]
        table.add_row(one_line(row["trial"]), *_scored(tuning, row["score"], row), *costs)
    default = _scored(tuning, default_score(tuning), tuning.info["default"])
    table.add_row(Text("default", style="bold"), *default, "-", "-")
    return table


def _scored(tuning: Tuning, score: float | None, values: dict[str, Any]) -> list[Text]:
    cells = [Text(format_number(score), style=against_naive(score))]
    return cells + [Text(labels.value_text(values.get(name))) for name in tuning.parameters]


def _best_line(search: dict[str, Any]) -> Text:
    best, default = search.get("best"), search.get("default_score")
    line = Text("best ", overflow="ellipsis", no_wrap=True)
    if best:
        line.append(format_number(best["score"]), style=against_naive(best["score"]))
    else:
        line.append("-")
    line.append(", default ").append(format_number(default), style=against_naive(default)).append(", naive 1")
    return (
        line.append(f"   trial {one_line(best['trial'])}: {labels.sizes(best['parameters'])}")
        if best
        else line
    )


def _work_line(search: dict[str, Any]) -> str:
    """Count the trials by kind, because ``--trials`` counts only the proposals."""
    total, compared = search.get("trials_total") or 0, search.get("trials_compared") or 0
    return f"{total:,} trials: {labels.counted(total - compared, compared)} with the default settings"


def _cells(trial: dict[str, Any], *, wide: bool) -> list[Text]:
    state, values, score = trial.get("state", "waiting"), trial.get("parameters") or {}, trial.get("score")
    details = {
        "failed": trial.get("reason"),
        "running": trial.get("eta_s") and format_duration(trial["eta_s"]),
    }
    text = f"{state} {one_line(details[state])}" if details.get(state) else state
    status = Text(text, style=_STYLES.get(state, ""))
    status.truncate(24 if wide else 15, overflow="ellipsis")
    return [
        Text(_name(trial, wide), style="bold" if state == "running" else ""),
        Text(labels.sizes(values, named=wide) or "-"),
        Text(labels.rate(values)),
        Text(one_line(trial.get("fold"))),
        Text(one_line(trial.get("epoch"))),
        Text(format_number(trial.get("loss"))),
        Text(format_number(score), style=against_naive(score)),
        status,
    ]


def _name(trial: dict[str, Any], wide: bool) -> str:
    name, origin = one_line(trial.get("trial")), one_line(trial.get("origin"))
    return f"{origin} {name}" if wide and origin in ("sweep", "refit") else name


def _search_fields(search: dict[str, Any]) -> str:
    best = search.get("best") or {}
    running = sum(trial.get("state") == "running" for trial in search.get("trials", []))
    label = f" {SYNTHETIC}" if is_synthetic(search.get("source")) else ""
    return (
        f"search={one_line(search.get('search'))} state={one_line(search.get('state'))}"
        f" trials={search.get('trials_done', 0)}/{search.get('trials_total', 0)}"
        f" compared={search.get('trials_compared', 0)} running={running}"
        f" best={format_number(best.get('score'))} best_trial={one_line(best.get('trial'))}"
        f" default={format_number(search.get('default_score'))} done={overall(search):.0%}"
        f" eta={format_duration(search.get('eta_s'))}{label}"
    )


def _trial_fields(trial: dict[str, Any]) -> str:
    values = {"origin": trial.get("origin")}
    values |= {name: labels.value_text(value) for name, value in (trial.get("parameters") or {}).items()}
    if trial.get("state") in OVER:
        values |= {"fold": trial.get("fold"), "epoch": trial.get("epoch")}
        values |= {key: format_number(trial[key]) for key in ("loss", "score") if trial.get(key) is not None}
        values["reason"] = trial.get("reason") and repr(one_line(trial["reason"]))
    return "".join(f" {key}={value}" for key, value in values.items() if value is not None)
