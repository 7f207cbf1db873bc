"""Format retrainings: a step's decision as a line, new and old figures, the list of records."""

from typing import Any

import rich.box
from rich.table import Table
from rich.text import Text

from train.nightly.nightly_record import work_seconds
from train.progress.snapshot import SYNTHETIC, against_naive, format_duration, is_synthetic

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


def _backtest(decision: dict[str, Any]) -> str:
    near = next(iter(decision["horizons"].values()), None)
    if near is None:
        return f"{decision['from']} to {decision['to']}: no forecast to score"
    ratio = f"relMAE {near['candidate']['rel_mae']:.4f}"
    text = f"{decision['from']} to {decision['to']}, {near['cutoffs']} days: {ratio}"
    if decision["production"]:
        return f"{text}, production's {near['production']['rel_mae']:.4f}"
    return f"{text}; {decision['left_out'] or 'nothing in production to compare with'}"


def _gate(decision: dict[str, Any]) -> str:
    checks = f"{decision['checks']} checks pass" if decision["checks"] else "not judged"
    return "; ".join([f"{'open' if decision['passed'] else 'CLOSED'}: {checks}", *decision["reasons"]])


def _promote(decision: dict[str, Any]) -> str:
    added = (decision.get("refresh") or {}).get("last")
    with_prices = f" with the sessions added meanwhile, to {added}," if added else ""
    return f"{decision['production']}{with_prices} is in production, {decision['was'] or 'nothing'} was"


DECISION_LINES = {
    "ingest": _ingest,
    "train": _train,
    "backtest": _backtest,
    "gate": _gate,
    "promote": _promote,
}
"""Functions that format a step's decision on one line."""


def figures_table(values: dict[str, Any], figures: dict[str, Any]) -> Table:
    """Build the table of the new and the old release next to naive by horizon."""
    dates = f"{figures['from']} to {figures['to']}"
    title = Text(f"new {values['release']}, old {figures['production'] or '-'}, {dates}")
    if is_synthetic((values["steps"]["ingest"]["decision"] or {}).get("source")):
        title.append("  ").append(f" {SYNTHETIC} ", style="bold black on yellow")
    table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for heading in ("days ahead", "forecasts"):
        table.add_column(heading, justify="right")
    for name in ("MAE KES", "relMAE", "relRMSE"):
        for who in ("new", "old", "naive"):
            table.add_column(f"{name}\n{who}", justify="right", no_wrap=True)
    table.add_column("p (new = old)", justify="right")
    for horizon, rows in figures["horizons"].items():
        cells = []
        for key, digits in (("mae", 3), ("rel_mae", 4), ("rel_rmse", 4)):
            cells += [_cell(rows.get(who), key, digits) for who in ("candidate", "production", "naive")]
        table.add_row(horizon, f"{rows['n']:,}", *cells, _cell(rows.get("ratio"), "dm_abs_p", 3))
    return table


def _cell(figures: dict[str, Any] | None, key: str, digits: int) -> Text:
    value = (figures or {}).get(key)
    if value is None:
        return Text("-")
    return Text(f"{value:.{digits}f}", style=against_naive(value) if key.startswith("rel") else "")


def records_table(records: list[dict[str, Any]]) -> Table:
    """Build the table of the last retrainings, newest first."""
    table = Table(title="Retrainings", title_justify="left", box=rich.box.SIMPLE_HEAD)
    for heading in ("started (UTC)", "took", "state", "last session", "new", "relMAE new / old", "why"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("started (UTC)", "state", "took"))
    for values in records:
        ingest = values["steps"]["ingest"]["decision"] or {}
        horizons = (values["steps"]["backtest"]["decision"] or {}).get("horizons") or {}
        near: dict[str, Any] = next(iter(horizons.values()), {})
        pair = [_cell(near.get(who), "rel_mae", 4).plain for who in ("candidate", "production")]
        table.add_row(
            values["started"][:16].replace("T", " "),
            format_duration(work_seconds(values)),
            Text(values["state"], style=STYLES.get(values["state"], "")),
            ingest.get("last", "-"),
            str(ingest.get("new_sessions", "-")),
            " / ".join(pair) if near else "-",
            Text(values["reason"] or _current_step(values)),
        )
    return table


def _current_step(values: dict[str, Any]) -> str:
    running = [name for name, entry in values["steps"].items() if entry["state"] == "running"]
    return f"at {running[0]}" if running else "between two steps"
