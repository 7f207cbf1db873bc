"""Format retrainings: a step's decision as a line, and the list of records."""

from typing import Any

import rich.box
from rich.table import Table
from rich.text import Text

from train.nightly.nightly_record import work_seconds
from train.progress.snapshot import format_duration

STYLES = {
    "promoted": "green",
    "refreshed": "green",
    "current": "dim",
    "closed": "yellow",
    "failed": "bold red",
    "running": "cyan",
}


def _ingest(decision: dict[str, Any]) -> str:
    counts = (
        f"{decision['accepted']:,} rows accepted, {decision['repaired']:,} repaired, "
        f"{decision['rejected']:,} rejected; sessions to {decision['last']}"
    )
    if posted := decision.get("posted"):
        counts += f", of which posted and not in the archive: {', '.join(posted)}"
    if "new_sessions" not in decision:
        return f"{counts} ({decision['sessions']:,})"
    return (
        f"{counts}; new since {decision['last_before']}: {decision['new_sessions']} sessions, "
        f"{decision['new_rows']} rows; {decision['rows_changed']} old ones changed, "
        f"{decision['rows_lost']} missing"
    )


def _train(decision: dict[str, Any]) -> str:
    how = "published before" if decision["published_before"] else f"{decision['models']} models"
    return (
        f"{decision['release']} ({how}): training to {decision['train_end']}, "
        f"validation to {decision['valid_end']}, test to {decision['test_end']}"
    )


def _gate(decision: dict[str, Any]) -> str:
    checks = f"{decision['checks']} checks pass" if decision["checks"] else "not judged"
    figures, comparison = [], decision["comparison"]
    if comparison and comparison["comparable"]:
        ours, theirs = (comparison[who]["rel_mae"] for who in ("release", "production"))
        if ours is not None and theirs is not None:
            figures.append(f"relMAE {ours:.4f}, production's {theirs:.4f} ({comparison['cutoffs']} days)")
    words = [f"{'open' if decision['passed'] else 'CLOSED'}: {checks}", *figures, *decision["reasons"]]
    return "; ".join(words)


def _promote(decision: dict[str, Any]) -> str:
    added = (decision.get("refresh") or {}).get("last")
    with_prices = f" with the sessions added meanwhile, to {added}," if added else ""
    return f"{decision['production']}{with_prices} is in production, {decision['was'] or 'nothing'} was"


DECISION_LINES = {"ingest": _ingest, "train": _train, "gate": _gate, "promote": _promote}
"""Functions that format a step's decision on one line."""


def records_table(records: list[dict[str, Any]]) -> Table:
    """Build the table of the last retrainings, newest first."""
    table = Table(title="Retrainings", title_justify="left", box=rich.box.SIMPLE_HEAD)
    for heading in ("started (UTC)", "took", "state", "last session", "new", "relMAE new / old", "why"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("started (UTC)", "state", "took"))
    for values in records:
        ingest = values["steps"]["ingest"]["decision"] or {}
        comparison = (values["steps"]["gate"]["decision"] or {}).get("comparison") or {}
        pair = [comparison[who]["rel_mae"] for who in ("release", "production") if who in comparison]
        table.add_row(
            values["started"][:16].replace("T", " "),
            format_duration(work_seconds(values)),
            Text(values["state"], style=STYLES.get(values["state"], "")),
            ingest.get("last", "-"),
            str(ingest.get("new_sessions", "-")),
            " / ".join("-" if ratio is None else f"{ratio:.4f}" for ratio in pair) or "-",
            Text(values["reason"] or _current_step(values)),
        )
    return table


def _current_step(values: dict[str, Any]) -> str:
    running = [name for name, entry in values["steps"].items() if entry["state"] == "running"]
    return f"at {running[0]}" if running else "between two steps"
