"""What a person sees of training: the live table, the closing table of errors, the list of runs."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, Protocol, Self, TextIO

import rich.box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from train.progress.snapshot import (
    SYNTHETIC,
    PlainLines,
    RunView,
    against_naive,
    duration,
    flat,
    is_synthetic,
)

log = logging.getLogger(__name__)

Mode = Literal["live", "plain", "silent"]
_JOIN_S = 2.0


class Lines(Protocol):
    """Snapshots as lines for a log; remembers what it has said."""

    def lines(self, snapshot: dict[str, Any], now: float) -> list[str]: ...


def display_mode(stream: TextIO) -> Mode:
    """``live`` on a capable terminal; ``plain`` elsewhere, under CI and where NO_COLOR asks for it."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("CI") or os.environ.get("TERM") == "dumb"
    return "live" if stream.isatty() and not plain else "plain"


class LiveTable:
    """Shows a run, or other work, while the ``with`` block works, from snapshots polled by a thread.

    A poll that fails or hangs never reaches the block: the last snapshot stays, with a note of its
    age. The terminal is left as it was found, whatever ends the block.

    Parameters
    ----------
    poll : callable
        Returns a snapshot, described in `train.progress.snapshot`.
    interval_s : float
        Pause between polls.
    stream : text stream, optional
        Where to draw; default stderr.
    mode : "live", "plain" or "silent", optional
        Default by `display_mode`; ``silent`` never polls.
    view : callable
        Makes what is drawn live of a snapshot, the time and a note on its age.
    lines : optional
        Makes the lines of the plain mode of a snapshot and the time; default `PlainLines`.
    """

    def __init__(
        self,
        poll: Callable[[], dict[str, Any]],
        *,
        interval_s: float = 0.5,
        stream: TextIO | None = None,
        mode: Mode | None = None,
        view: Callable[[dict[str, Any], float, str], RenderableType] = RunView,
        lines: Lines | None = None,
    ) -> None:
        self._poll, self._interval_s = poll, interval_s
        self._stream = sys.stderr if stream is None else stream
        self._mode = mode or display_mode(self._stream)
        self._snapshot: dict[str, Any] = {}
        self._heard = time.time()
        self._view, self._plain, self._noted = view, lines or PlainLines(), False
        self._live: Live | None = None
        self._drawing = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="live-table", daemon=True)

    def __enter__(self) -> Self:
        if self._mode == "live":
            console = Console(file=self._stream, force_terminal=True)
            piped = not sys.stdout.isatty()  # results go down the pipe, not into the table
            self._live = Live(console=console, auto_refresh=False, redirect_stdout=not piped)
            self._live.start()
        if self._mode != "silent":
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        try:
            if self._mode != "silent":
                self._thread.join(_JOIN_S)
                if kind is None and not self._thread.is_alive():
                    self._tick()
        finally:
            with self._drawing:
                live, self._live, self._mode = self._live, None, "silent"
                if live is not None:
                    with suppress(Exception):  # the terminal itself may be gone
                        live.stop()

    def _loop(self) -> None:
        while not self._stop.is_set():
            self._tick()
            self._stop.wait(self._interval_s)

    def _tick(self) -> None:
        """Poll and draw once; swallows every error, because a display must not end a training run."""
        note = ""
        try:
            self._snapshot, self._heard = self._poll(), time.time()
        except Exception as error:
            if not self._stop.is_set():
                note = f"no news for {duration(time.time() - self._heard)} ({type(error).__name__})"
            log.debug("poll failed: %s", error)
        try:
            with self._drawing:
                self._draw(note)
        except Exception as error:
            log.debug("drawing failed: %s", error)

    def _draw(self, note: str) -> None:
        if self._mode == "plain":
            news = self._plain.lines(self._snapshot, time.time()) if self._snapshot else []
            if note and not self._noted:
                news.append(note)
            self._noted = bool(note)
            self._stream.writelines(line + "\n" for line in news)
            self._stream.flush()
        elif self._live is not None:
            view = self._view(self._snapshot, time.time(), note) if self._snapshot else Text(note)
            self._live.console.render_lines(view)  # a view that cannot be drawn must not replace one that can
            self._live.update(view, refresh=True)


def result_table(rows: list[dict[str, Any]], *, source: str) -> Group:
    """The closing table of test errors, and beneath it why a job was skipped or failed.

    Parameters
    ----------
    rows : list of dict
        ``job``, ``model`` (general, fine-tuned, average, scratch or skipped), ``n`` (forecasts),
        ``mae_kes``, ``naive_mae_kes``, ``rel_mae``, ``rel_rmse``, ``state`` and ``reason``; any but
        ``job`` may be absent. A row whose job is ``pooled`` becomes the footer; without one the footer
        pools the symbols by ``n``.
    source : str
        Where the prices came from; synthetic ones are named in the title.
    """
    title = Text("Test errors")
    if is_synthetic(source):
        title.append("  ").append(f" {SYNTHETIC} ", style="bold black on yellow")
    given = [row for row in rows if row["job"] == "pooled"]
    rows = [row for row in rows if row["job"] != "pooled"]
    footer = _error_cells(given[0] if given else _pooled(rows))
    table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, show_footer=True)
    headings = ("job", "model", "n", "MAE KES", "naive MAE KES", "relMAE", "relRMSE", "state")
    for heading, foot in zip(headings, footer, strict=True):
        left = heading in ("job", "model", "state")
        table.add_column(heading, foot, justify="left" if left else "right", no_wrap=heading == "job")
    for row in rows:
        table.add_row(*_error_cells(row))
    return Group(table, *(Text(f"{row['job']}: {flat(row['reason'])}") for row in rows if row.get("reason")))


def _pooled(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Errors of the symbols' rows together, each forecast counting once (general alone if it is alone)."""
    scored = [row for row in rows if row.get("n") and row.get("mae_kes") is not None]
    scored = [row for row in scored if row["job"] != "general"] or scored
    n = sum(row["n"] for row in scored)
    pooled: dict[str, Any] = {"job": "pooled", "n": n}
    for key in ("mae_kes", "naive_mae_kes"):
        if n and all(row.get(key) is not None for row in scored):
            pooled[key] = sum(row["n"] * row[key] for row in scored) / n
    if pooled.get("naive_mae_kes"):
        pooled["rel_mae"] = pooled["mae_kes"] / pooled["naive_mae_kes"]
    return pooled


def _error_cells(row: dict[str, Any]) -> list[Text]:
    def cell(key: str, digits: int, style: str = "") -> Text:
        value = row.get(key)
        return Text("-" if value is None else f"{value:,.{digits}f}", style=style)

    return [
        Text(flat(row["job"])),
        Text(flat(row.get("model"))),
        cell("n", 0),
        cell("mae_kes", 3),
        cell("naive_mae_kes", 3),
        cell("rel_mae", 3, against_naive(row.get("rel_mae"))),
        cell("rel_rmse", 3, against_naive(row.get("rel_rmse"))),
        Text(row.get("state") or "", style="red" if row.get("state") == "failed" else ""),
    ]


def runs_table(runs: list[dict[str, Any]]) -> Table:
    """Training runs, as `train.progress.runs.list_runs` gives them."""
    table = Table(title="Runs", title_justify="left", box=rich.box.SIMPLE_HEAD, show_edge=False)
    table.padding = (0, 1, 0, 0)
    for heading in ("run", "state", "started", "updated", "preset", "source", "jobs", "process"):
        table.add_column(heading, no_wrap=heading not in ("source", "process"), overflow="fold")
    styles = {"done": "green", "failed": "bold red", "interrupted": "yellow", "unreadable": "bold red"}
    for run in runs:
        synthetic = is_synthetic(run.get("source"))
        table.add_row(
            Text(flat(run.get("id"))),
            Text(flat(run.get("state")), style=styles.get(run.get("state", ""), "cyan")),
            _local(run.get("started")),
            _ago(run.get("updated")),
            flat(run.get("preset")),
            Text("SYNTHETIC" if synthetic else flat(run.get("source")), style="yellow" if synthetic else ""),
            f"{run.get('jobs_done', '-')}/{run.get('jobs_total', '-')}",
            Text(f"{run.get('pid', '-')} on {flat(run.get('host'))}"),
        )
    return table


def _local(seconds: float | None) -> str:
    return "-" if not seconds else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _ago(seconds: float | None) -> str:
    if not seconds:
        return "-"
    age = time.time() - seconds
    return f"{age / 86_400:.0f} days ago" if age > 2 * 86_400 else f"{duration(age)} ago"
