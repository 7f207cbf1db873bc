"""The result of a scenario: one row of the table."""

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import rich.box
from rich.markup import escape
from rich.table import Table

from bench.chaos.load import Tally


@dataclass(frozen=True)
class Row:
    """One scenario."""

    scenario: str
    did: str
    """What was done to it."""
    passed: bool | None
    """None: skipped, the note says why."""
    note: str = ""
    requests: int | None = None
    """None without HTTP requests."""
    statuses: dict[str, int] = field(default_factory=dict)
    """First tries by status; ``none``: no answer."""
    failed: int | None = None
    """First tries without a 200."""
    failed_twice: int | None = None
    wrong: int | None = None
    """Answers of status 200 with other numbers than the release's, or of two releases."""
    recovery_s: float | None = None
    """Longest, from a fault to the first of 50 good answers in a row."""
    seconds: float | None = None
    """How long it took altogether."""

    @property
    def verdict(self) -> str:
        return "skipped" if self.passed is None else "passed" if self.passed else "FAILED"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict}


def note(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def row_of(
    tally: Tally, scenario: str, did: str, passed: bool, *, note: str = "", recovery_s: float | None = None
) -> Row:
    """The row of a scenario under load; what was wrong with answers is added to the note."""
    notes = [note, *tally.wrong, f"{tally.unsent} not sent" if tally.unsent else ""]
    if not passed:
        notes += [f"{count} x {reason}" for reason, count in tally.reasons.most_common(3)]
    return Row(
        scenario,
        did,
        passed and not tally.wrongs and bool(tally.requests),
        "; ".join(filter(None, notes)),
        requests=len(tally.requests),
        statuses=tally.statuses,
        failed=tally.failed,
        failed_twice=tally.failed_twice,
        wrong=tally.wrongs,
        recovery_s=recovery_s,
    )


def table(rows: Iterable[Row]) -> Table:
    """All rows, for people."""
    result = Table(box=rich.box.SIMPLE_HEAD)
    for name in ("scenario", "what was done"):
        result.add_column(name)
    for name in ("requests", "by status", "failed", "after a retry", "wrong", "recovery s", "took s"):
        result.add_column(name, justify="right")
    result.add_column("verdict")
    result.add_column("note", overflow="fold")
    for row in rows:
        numbers = [row.failed, row.failed_twice, row.wrong, row.recovery_s, row.seconds]
        result.add_row(
            row.scenario,
            row.did,
            "-" if row.requests is None else f"{row.requests:,}",
            " ".join(f"{status}:{count:,}" for status, count in row.statuses.items()) or "-",
            *("-" if number is None else f"{number:,}" for number in numbers),
            f"[{'red' if row.passed is False else 'green' if row.passed else 'yellow'}]{row.verdict}",
            escape(row.note),
        )
    return result
