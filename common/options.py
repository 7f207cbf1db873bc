"""Command-line options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Home = Annotated[
    Path | None, typer.Option("--home", help="Storage root; default $NSECAST_HOME, else ./nsecast-data.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for machines.")]
ReleaseName = Annotated[str, typer.Option("--release", help="production, latest or a release id.")]
Quickly = Annotated[
    bool,
    typer.Option(
        "--quick", help="Do a fraction of the work, to try things out; the figures measure nothing."
    ),
]
AcceptMixedDates = Annotated[
    bool, typer.Option("--accept-mixed-dates", help="Accept an archive whose dates look mixed up.")
]
UniverseFile = Annotated[
    Path | None, typer.Option("--universe", metavar="FILE.toml", help="Stocks, sectors and tiers.")
]
