"""How retrainings are shown: a step's decision as a line, old against new figures, the list of records."""

from typing import Any

import rich.box
from rich.table import Table
from rich.text import Text

from train.nightly.record import work_seconds
from train.progress.snapshot import SYNTHETIC, against_naive, duration, is_synthetic

STYLES = {"promoted": "green", "current": "dim", "closed": "yellow", "failed": "bold red", "running": "cyan"}


def _ingest(found: dict[str, Any]) -> str:
    counts = (
        f"{found['accepted']:,} rows accepted, {found['repaired']:,} repaired, "
        f"{found['rejected']:,} rejected; sessions to {found['last']}"
    )
    if "new_sessions" not in found:
        return f"{counts} ({found['sessions']:,})"
    return (
        f"{counts}; new since {found['last_before']}: {found['new_sessions']} sessions, "
        f"{found['new_rows']} rows; {found['rows_changed']} old ones changed, {found['rows_lost']} gone"
    )


def _train(found: dict[str, Any]) -> str:
    how = "published before" if found["published_before"] else f"{found['models']} models"
    return (
        f"{found['release']} ({how}): trained to {found['train_end']}, chosen to {found['valid_end']}, "
        f"tested to {found['test_end']}"
    )


def _backtest(found: dict[str, Any]) -> str:
    near = next(iter(found["horizons"].values()), None)
    if near is None:
        return f"{found['from']} to {found['to']}: nothing to judge"
    text = (
        f"{found['from']} to {found['to']}, {near['cutoffs']} days: relMAE {near['candidate']['rel_mae']:.4f}"
    )
    if found["production"]:
        return f"{text}, production's {near['production']['rel_mae']:.4f}"
    return f"{text}; {found['left_out'] or 'nothing in production to compare with'}"


def _gate(found: dict[str, Any]) -> str:
    checks = f"{found['checks']} checks pass" if found["checks"] else "not judged"
    return f"{'open' if found['passed'] else 'CLOSED'}: {checks}" + "".join(
        f"; {why}" for why in found["reasons"]
    )


def _promote(found: dict[str, Any]) -> str:
    return f"{found['production']} is in production, {found['was'] or 'nothing'} was"


SAID = {"ingest": _ingest, "train": _train, "backtest": _backtest, "gate": _gate, "promote": _promote}
"""By step, what it decided, with the figures it was made on, on one line."""


def figures_table(values: dict[str, Any], found: dict[str, Any]) -> Table:
    """New and old release next to naive, by horizon, on the days that are a test for both."""
    title = Text(
        f"new {values['release']}, old {found['production'] or '-'}, {found['from']} to {found['to']}"
    )
    if is_synthetic((values["steps"]["ingest"]["decision"] or {}).get("source")):
        title.append("  ").append(f" {SYNTHETIC} ", style="bold black on yellow")
    table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for heading in ("days ahead", "forecasts"):
        table.add_column(heading, justify="right")
    for name in ("MAE KES", "relMAE", "relRMSE"):
        for who in ("new", "old", "naive"):
            table.add_column(f"{name}\n{who}", justify="right", no_wrap=True)
    table.add_column("p (new = old)", justify="right")
    for horizon, rows in found["horizons"].items():
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


def records_table(found: list[dict[str, Any]]) -> Table:
    """The last retrainings, newest first."""
    table = Table(title="Retrainings", title_justify="left", box=rich.box.SIMPLE_HEAD)
    for heading in ("started (UTC)", "took", "state", "last session", "new", "relMAE new / old", "why"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("started (UTC)", "state", "took"))
    for values in found:
        ingest = values["steps"]["ingest"]["decision"] or {}
        near: dict[str, Any] = next(
            iter(((values["steps"]["backtest"]["decision"] or {}).get("horizons") or {}).values()), {}
        )
        pair = [_cell(near.get(who), "rel_mae", 4).plain for who in ("candidate", "production")]
        table.add_row(
            values["started"][:16].replace("T", " "),
            duration(work_seconds(values)),
            Text(values["state"], style=STYLES.get(values["state"], "")),
            ingest.get("last", "-"),
            str(ingest.get("new_sessions", "-")),
            " / ".join(pair) if near else "-",
            Text(values["reason"] or _at(values)),
        )
    return table


def _at(values: dict[str, Any]) -> str:
    """The step that a retraining without a reason is at."""
    active = [name for name, entry in values["steps"].items() if entry["state"] == "running"]
    return f"at {active[0]}" if active else "between two steps"
