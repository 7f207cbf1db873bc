"""``nsecast receipt`` and ``nsecast replay``: prove what was served, and compute it again."""

import json
from pathlib import Path
from typing import Annotated, Any

import rich.box
import typer
from rich.table import Table

from common import storage
from common.config import read_file
from common.console import console
from common.errors import ConfigError, ReceiptError
from common.options import AsJson, Home
from serve.schemas.forecast import Horizon

BROKEN = 3


def receipt(
    request_id: Annotated[
        str, typer.Argument(help="The response's request_id, also in its header X-Request-ID.")
    ],
    symbol: Annotated[str | None, typer.Option(help="One stock of a response about many.")] = None,
    horizon: Annotated[Horizon | None, typer.Option(help="One horizon of several.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Default: stdout.")] = None,
    home: Home = None,
) -> None:
    """Write what was served to one request, by which release, and where it is in the log.

    JSON: each forecast as served, the prices that the request included, digests of release and data, seeds,
    versions, and the place in the hash chain. Exit code 3: the receipt is good, but the chain is broken
    elsewhere.
    """
    from serve.audit.receipts import make_receipt

    content = make_receipt(storage.home(home), request_id, symbol.upper() if symbol else None, horizon)
    if out is None:
        typer.echo(json.dumps(content, indent=1, allow_nan=False))
    else:
        storage.write_json(out, content)
        typer.echo(f"{out}: {len(content['forecasts'])} forecasts of {content['release']['id']}", err=True)
    for problem in content["chain"]["problems"]:
        typer.echo(f"the log is broken: {problem}", err=True)
    if content["chain"]["problems"]:
        raise typer.Exit(BROKEN)


def replay(
    receipt: Annotated[Path, typer.Argument(metavar="RECEIPT.json", help="From nsecast receipt.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Compute the forecasts of a receipt again and compare every digit.

    Exit codes: 0 all are equal; 1 some differ, or cannot be computed because the receipt was edited or the
    release is gone, altered or a different one.
    """
    from serve.audit.replay import replay as again

    try:
        content = json.loads(read_file(receipt))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{receipt}: not JSON: {error}. Make one with `nsecast receipt`.") from None
    try:
        results = again(content, storage.home(home))
    except ReceiptError as error:
        raise ReceiptError(f"{receipt}: {error.message}", **error.context) from None
    if as_json:
        typer.echo(json.dumps(results, indent=1, allow_nan=False))
    else:
        _print(results, content)
    if not all(result["equal"] for result in results):
        raise typer.Exit(1)


def _print(results: list[dict[str, Any]], content: dict[str, Any]) -> None:
    from serve.audit.ledger import software

    screen = console(highlight=False)
    table = Table(
        title=f"{content['release']['id']}, request {content['request_id']}",
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
    )
    for heading in ("symbol", "horizon", "", "served", "again", "verdict"):
        table.add_column(heading, no_wrap=True, justify="right" if heading in ("served", "again") else "left")
    for result in results:
        served, again = result["served"], result["again"]
        for name in served:
            if name == "prediction" or served[name] != again[name]:
                same = "equal" if served[name] == again[name] else "different"
                values = json.dumps(served[name]), json.dumps(again[name])
                table.add_row(result["symbol"], result["horizon"], name, *values, same)
    screen.print(table)
    now, then = json.loads(software()), content["software"]
    for name in sorted(now.keys() & then.keys()):
        if now[name] != then[name]:
            screen.print(f"{name}: {then[name]} then, {now[name]} now", soft_wrap=True)
