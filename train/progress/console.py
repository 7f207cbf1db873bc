"""Show training in a terminal: the live table, the closing table of errors, the list of runs."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, Self, TextIO

import rich.box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from train.progress.snapshot import (
    PlainLines,
    RunView,
    against_naive,
    format_duration,
    is_synthetic,
    label_title,
    one_line,
)

log = logging.getLogger(__name__)

Mode = Literal["live", "plain", "silent"]
_JOIN_S = 2.0


def display_mode(stream: TextIO) -> Mode:
    """Return ``live`` for a capable terminal, ``plain`` otherwise, under CI and with NO_COLOR."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("CI") or os.environ.get("TERM") == "dumb"
    return "live" if stream.isatty() and not plain else "plain"


class LiveTable:
    """Shows a run, or other work, while the ``with`` block runs; a thread polls snapshots.

    A poll that fails or hangs does not affect the block: the last snapshot stays, with a note of its age. The
    terminal is restored however the block ends.

    Parameters
    ----------
    poll : returns a snapshot, described in `train.progress.snapshot`
    interval_s : pause between polls
    stream : default stderr
    mode : default by `display_mode`; ``silent`` never polls
    """

    def __init__(
        self,
        poll: Callable[[], dict[str, Any]],
        *,
        interval_s: float = 0.5,
        stream: TextIO | None = None,
        mode: Mode | None = None,
    ) -> None:
        self._poll, self._interval_s = poll, interval_s
        self._stream = sys.stderr if stream is None else stream
        self._mode = mode or display_mode(self._stream)
        self._snapshot: dict[str, Any] = {}
        self._polled = time.time()
        self._plain, self._noted = PlainLines(), False
        self._live: Live | None = None
        self._drawing = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="live-table", daemon=True)

    def __enter__(self) -> Self:
        if self._mode == "live":
            console = Console(file=self._stream, force_terminal=True)
            piped = not sys.stdout.isatty()  # then results go into the pipe, not above the table
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
        """Poll and draw once; logs every error, because a display must not end a training run."""
        note = ""
        try:
            self._snapshot, self._polled = self._poll(), time.time()
        except Exception as error:
            if not self._stop.is_set():
                note = f"no news for {format_duration(time.time() - self._polled)} ({type(error).__name__})"
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
            view = RunView(self._snapshot, time.time(), note) if self._snapshot else Text(note)
            self._live.console.render_lines(view)  # raises before a broken view replaces a good one
            self._live.update(view, refresh=True)


def result_table(rows: list[dict[str, Any]], *, source: str) -> Group:
    """Return the closing table of test errors, and below it why jobs were skipped or failed.

    ``rows`` have ``job``, ``model`` (general, fine-tuned, average, scratch or skipped), ``n`` (forecasts),
    ``mae_kes``, ``naive_mae_kes``, ``rel_mae``, ``rel_rmse``, ``state`` and ``reason``; all except ``job``
    may be absent. The last row has the job ``pooled``. The title names a synthetic ``source``.
    """
    title = label_title(Text("Test errors"), source)
    table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for heading in ("job", "model", "n", "MAE KES", "naive MAE KES", "relMAE", "relRMSE", "state"):
        left = heading in ("job", "model", "state")
        table.add_column(heading, justify="left" if left else "right", no_wrap=heading == "job")
    for row in rows:
        pooled = row["job"] == "pooled"
        if pooled:
            table.add_section()
        table.add_row(*_error_cells(row), style="bold" if pooled else None)
    return Group(
        table, *(Text(f"{row['job']}: {one_line(row['reason'])}") for row in rows if row.get("reason"))
    )


def _error_cells(row: dict[str, Any]) -> list[Text]:
    def cell(key: str, digits: int = 3, style: str = "") -> Text:
        value = row.get(key)
        return Text("-" if value is None else f"{value:,.{digits}f}", style=style)

    return [
        Text(one_line(row["job"])),
        Text(one_line(row.get("model"))),
        cell("n", 0),
        cell("mae_kes"),
        cell("naive_mae_kes"),
        cell("rel_mae", style=against_naive(row.get("rel_mae"))),
        cell("rel_rmse", style=against_naive(row.get("rel_rmse"))),
        Text(row.get("state") or "", style="red" if row.get("state") == "failed" else ""),
    ]


def runs_table(runs: list[dict[str, Any]]) -> Table:
    """Return a table of the training runs that `train.progress.runs.list_runs` returns."""
    table = Table(title="Runs", title_justify="left", box=rich.box.SIMPLE_HEAD, show_edge=False)
    table.padding = (0, 1, 0, 0)
    for heading in ("run", "state", "started", "updated", "preset", "source", "jobs", "process"):
        table.add_column(heading, no_wrap=heading not in ("source", "process"), overflow="fold")
    styles = {"done": "green", "failed": "bold red", "interrupted": "yellow", "unreadable": "bold red"}
    for run in runs:
        synthetic = is_synthetic(run.get("source"))
        table.add_row(
            Text(one_line(run.get("id"))),
            Text(one_line(run.get("state")), style=styles.get(run.get("state", ""), "cyan")),
            _local(run.get("started")),
            _local(run.get("updated")),
            one_line(run.get("preset")),
            Text(
                "SYNTHETIC" if synthetic else one_line(run.get("source")), style="yellow" if synthetic else ""
            ),
            f"{run.get('jobs_done', '-')}/{run.get('jobs_total', '-')}",
            Text(f"{run.get('pid', '-')} on {one_line(run.get('host'))}"),
        )
    return table


def _local(seconds: float | None) -> str:
    return "-" if not seconds else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
