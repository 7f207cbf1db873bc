"""``nsecast validate``: the checklist of a release."""

import json
from dataclasses import asdict

import rich.box
import typer
from rich.table import Table
from rich.text import Text

from common import storage
from common.console import console
from common.options import AsJson, Home, ReleaseName
from common.release.manifest import Release
from common.release.registry import Registry
from common.release.subject import Check
from train.gate.checklist import run_checklist
from train.progress.snapshot import SYNTHETIC, is_synthetic


def validate(
    release: ReleaseName = "production",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Check a release's files, scalers, errors and forecasts; exit 1 if a check fails."""
    resolved = Registry(storage.home(home)).resolve(release)
    with console(stderr=True).status(f"checking {resolved.id}"):
        checks = run_checklist(resolved)
    passed = all(check.passed for check in checks)
    if as_json:
        document = {
            "release": resolved.id,
            "source": resolved.info.get("source"),
            "passed": passed,
            "checks": [asdict(check) for check in checks],
        }
        typer.echo(json.dumps(document, indent=1))
    else:
        console().print(_table(resolved, checks))
    if not passed:
        raise typer.Exit(1)


def _table(release: Release, checks: list[Check]) -> Table:
    label = f"{SYNTHETIC}, " if is_synthetic(release.info.get("source")) else ""
    count = sum(check.passed for check in checks)
    table = Table(
        title=f"{label}{release.id}: {count} of {len(checks)} checks pass",
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
    )
    for heading in ("check", "", "found", "needed"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("check", ""))
    for check in checks:
        word = Text("pass", style="green") if check.passed else Text("FAIL", style="bold red")
        table.add_row(check.name, word, Text(check.found), Text(check.needed))
    return table
