"""``nsecast track-record``: the accuracy of a stock's served forecasts, and the check of their log."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import rich.box
import typer
from rich.table import Table

from common import storage
from common.config import read_file
from common.console import console
from common.errors import ConfigError
from common.options import AcceptMixedDates, AsJson, Home
from common.scoring.forecast_errors import REL_MAE

if TYPE_CHECKING:
    from cluster.monitor.track_record import TrackRecord

BROKEN = 3
DIGEST = r"[0-9a-f]{64}"


def track_record(
    symbol: Annotated[str, typer.Argument(help="A stock, such as SCOM.")],
    kept: Annotated[
        list[str] | None,
        typer.Option(metavar="DIGEST|FILE", help="A head noted earlier, or the file of an earlier --json."),
    ] = None,
    release: Annotated[
        str, typer.Option(help="Release whose backtest to compare with: production, latest or a release id.")
    ] = "production",
    archive: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Newer files to score with; default: the newest release's prices."),
    ] = None,
    accept_mixed_dates: AcceptMixedDates = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Score every served forecast of a stock next to the last price, and check the hash chain of the log.

    Rows that are not in the chain are excluded. Keep the printed head somewhere else: with --kept it shows
    later whether the log was rewritten.
    Exit codes: 0 the chain is intact; 3 it is broken, with the place; 1 unknown stock or release.
    """
    from cluster.monitor.monitor import known_prices
    from cluster.monitor.track_record import track_record as record
    from common.release.forecasts import ReleasedModels
    from common.release.registry import Registry

    root = storage.home(home)
    digests = [digest for value in kept or [] for digest in _digests(value)]
    models = ReleasedModels(Registry(root).open(release))
    panel = known_prices(root, models, archive, accept_mixed_dates=accept_mixed_dates)
    result = record(symbol.strip().upper(), models, panel, root, kept=digests)
    if as_json:
        typer.echo(json.dumps(result.as_dict(), indent=1, allow_nan=False))
    else:
        _print(result)
    if result.broken:
        raise typer.Exit(BROKEN)


def _digests(kept: str) -> list[str]:
    """Return the argument if it is a digest, else the digests in the file of an earlier ``--json``."""
    if re.fullmatch(DIGEST, kept.strip().lower()):
        return [kept.strip().lower()]
    if not Path(kept).exists():
        raise ConfigError(f"--kept: {kept}: neither a digest (64 hex digits) nor a file. Check it.")
    content = read_file(Path(kept))
    try:
        heads = list(json.loads(content)["chain"]["heads"].values())
        if not all(isinstance(head, str) for head in heads):
            raise TypeError
        return heads
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ConfigError(f"{kept}: need the output of `nsecast track-record SYMBOL --json`.") from None


def _print(result: "TrackRecord") -> None:
    from cluster.monitor.live import REASONS

    screen = console(highlight=False)
    label = "SYNTHETIC DATA, " if result.synthetic else ""
    period = f", from the evenings of {result.first} to {result.last}" if result.first else ""
    screen.print(
        f"{label}{result.symbol}: {result.served:,} forecasts served, {result.scored:,} scored{period}"
    )
    if result.waiting:
        screen.print(f"  {result.waiting:,} wait for their close")
    for reason, count in result.left_out.items():
        if count:
            screen.print(f"  left out: {count:,} {REASONS[reason]}")
    if result.frozen:
        screen.print(f"  in no figure: {result.frozen:,} of frozen windows")
    if len(result.figures):
        screen.print(_table(result))
    chain = result.chain
    for path in chain.unchained:
        screen.print(f"  not in the chain, and not counted: {path}", soft_wrap=True)
    for problem in (*chain.problems, *(f"head {digest} is no longer in it" for digest in result.lacks)):
        screen.print(f"  broken at {problem}", soft_wrap=True, style="bold red")
    word = "broken" if result.broken else chain.verdict
    since = f" since {chain.oldest}, {chain.parts:,} parts" if chain.parts else ""
    screen.print(f"chain: {word}{since}", style="bold red" if result.broken else "")
    if chain.newest:
        screen.print(f"head: {chain.newest.digest}", soft_wrap=True)


def _table(result: "TrackRecord") -> Table:
    table = Table(box=rich.box.SIMPLE_HEAD, show_edge=False, caption=REL_MAE, caption_justify="left")
    for heading in (
        *("days", "n", "evenings", "MAE KES", "naive", "relMAE", "backtest"),
        *("inside 90 %", "interval", "Brier", "skill", "backtest", ""),
    ):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for row in result.figures.to_dict(orient="records"):
        table.add_row(
            *(str(row[name]) for name in ("horizon", "n", "dates")),
            *(_number(row[name]) for name in ("mae", "naive_mae", "rel_mae", "backtest_rel_mae", "cover90")),
            f"{_number(row['cover90_low'])}-{_number(row['cover90_high'])}",
            *(_number(row[name]) for name in ("brier", "brier_skill", "backtest_brier_skill")),
            row["verdict"],
        )
    return table


def _number(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.3f}"
