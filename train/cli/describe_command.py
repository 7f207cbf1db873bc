"""``nsecast data describe``: describe price files that were never seen, and write ``columns.toml``."""

import json
import shlex
from pathlib import Path
from typing import Annotated

import tomli_w
import typer

from common import storage
from common.archive.columns import FILE_NAME
from common.archive.description.describe import describe_files
from common.errors import ArchiveError
from common.options import AsJson


def describe(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Price files of one folder.")],
    day_first: Annotated[
        bool | None,
        typer.Option(
            "--day-first/--month-first", help="Order where the files do not show it.", show_default=False
        ),
    ] = None,
    decimal_comma: Annotated[
        bool | None,
        typer.Option(
            "--decimal-comma/--decimal-point",
            help="Mark of decimals where the files do not show it.",
            show_default=False,
        ),
    ] = None,
    header: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Names of the columns of files without them: Date,Code,Close."),
    ] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Replace an existing columns.toml.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say how price files are written, with reasons and doubts, and write columns.toml beside them.

    Exit code 1: not price files, or the order of day and month, or the mark of decimals, cannot be told.
    """
    if folder := next(filter(Path.is_dir, files), None):
        raise ArchiveError(f"{folder}: this is a folder. Name its files, such as *.csv.")
    target = files[0].parent / FILE_NAME
    if len({path.parent.resolve() for path in files}) > 1:
        raise ArchiveError("The files are in several folders. Describe one folder at a time.")
    if target.exists() and not replace:
        raise ArchiveError(f"{target}: exists. Use --replace to replace it, or move it away.")
    names = [name.strip() for name in header.split(",")] if header else []
    found = describe_files(files, day_first=day_first, decimal_comma=decimal_comma, header=names)
    settings = tomli_w.dumps(found.settings)
    storage.write_with(target, lambda path: path.write_text(settings, encoding="utf-8"))
    if as_json:
        result = {"columns_toml": str(target), "settings": found.settings, "reasons": found.reasons}
        typer.echo(
            json.dumps(result | {"doubts": found.doubts, "rows": found.rows}, indent=1, allow_nan=False)
        )
        return
    for title, lines in (("", found.reasons), ("Doubt: ", found.doubts), ("Row: ", found.rows)):
        for line in lines:
            values = [line] if isinstance(line, str) else [f"{name} {value}" for name, value in line.items()]
            typer.echo(f"{title}{', '.join(values)}")
    archive = shlex.quote(str(target.parent))
    typer.echo(f"\n{settings}\n{target} written. Next: nsecast data check --archive {archive}")
