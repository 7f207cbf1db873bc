"""Options that several commands share."""

import datetime as dt
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from common.errors import ConfigError

Home = Annotated[
    Path | None, typer.Option("--home", help="Storage root; default $NSECAST_HOME, else ./nsecast-data.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ReleaseName = Annotated[str, typer.Option("--release", help="production, latest or a release id.")]
Quick = Annotated[bool, typer.Option("--quick", help="Do a fraction of the work, to try things out.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
AcceptMixedDates = Annotated[
    bool, typer.Option("--accept-mixed-dates", help="Accept an archive whose dates look mixed up.")
]
ArchiveFolder = Annotated[
    Path | None,
    typer.Option(
        "--archive", metavar="DIR", help="The exchange's daily files; default: the synthetic market."
    ),
]
UniverseFile = Annotated[
    Path | None, typer.Option("--universe", metavar="FILE.toml", help="Stocks, sectors and tiers.")
]
Preset = Annotated[
    str | None,
    typer.Option("--preset", help="residual or v4_log; default: the settings file's, else residual."),
]
SettingsFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE.toml", help="Settings that change the preset's.")
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Default: all CPUs.")]
CostPercent = Annotated[
    float,
    typer.Option(
        "--cost-percent",
        min=0,
        max=100,
        metavar="PERCENT",
        help="Cost of a purchase, and of a sale, percent of the amount.",
    ),
]
Refit = Annotated[
    bool | None,
    typer.Option(
        "--refit/--no-refit",
        help="Serve networks fitted to all prices after the evaluation. Default: unless --quick.",
    ),
]
TrainEnd = Annotated[
    dt.datetime | None, typer.Option("--train-end", formats=["%Y-%m-%d"], help="Last training day.")
]
ValidEnd = Annotated[
    dt.datetime | None, typer.Option("--valid-end", formats=["%Y-%m-%d"], help="Last validation day.")
]
Wait = Annotated[
    str | None,
    typer.Option("--wait", metavar="30m", help="Wait for another refresh or retraining: 90s, 30m or 2h."),
]


def root_option(home: Path | None) -> str:
    """Return the option ``--home`` for a command to type next; nothing if it was not given."""
    return f" --home {shlex.quote(str(home))}" if home else ""


def wait_seconds(text: str | None) -> float:
    """Convert the value of ``--wait`` to seconds; None is 0."""
    return duration_s(text or "0s", "--wait", "90s, 30m or 2h")


def duration_s(text: str, option: str, examples: str) -> float:
    """Convert a number of seconds, minutes, hours or days, such as ``30m``, to seconds.

    Raises
    ------
    ConfigError
        For other text; names the option and the examples.
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smhd])", text.strip())
    if not match:
        raise ConfigError(f"{option}: got {text!r}; need a number and a unit, such as {examples}.")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[match[2]]
