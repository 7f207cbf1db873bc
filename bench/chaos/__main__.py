"""Load and faults against a real server on loopback, and what killed work leaves on disk: a row for each.

    python -m bench.chaos [--short | --full] [--only NAME,...] [--home DIR] [--json] [--out FILE]
    python -m bench.chaos --live [--minutes 2] [--per-s 30] [--home DIR]

``--short`` takes about two minutes, ``--full`` about an hour and a half. What serves is a copy of the
release in production below ``--home``; where there is none, a quick synthetic one is trained first. Every
answer is compared with the release's own forecasts. *Failed* are first tries without a 200, *after a retry*
those that failed a second time, *wrong* answers with other numbers, or of two releases. *Recovery* is from
a fault to the first of 50 good answers in a row. A scenario passes if nothing is wrong, and: no request
failed (steady, soak, reload), none failed twice (replicas, routers, node, clock), the service came back
(proxy: there is one, so requests fail meanwhile), only 200, 429 and 503 with Retry-After were given
(overload), everything on disk loads (publish, train, disk full).

``--live`` shows kills on one side of the screen and requests on the other: replicas and routers are killed
(kill -9) and releases promoted in turn. ``--minutes`` without ``--live`` does the same and prints a line for
each. Here the default of ``--home`` is the storage root.

Exit codes: 0 all passed, 1 one failed, 130 stopped. All temporary files and processes are gone at the end.
"""

import argparse
import json
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import machine
from bench.chaos.home import source
from bench.chaos.live import show_kills
from bench.chaos.result import Row, table
from bench.chaos.scenarios import FULL, SHORT, Scenarios, Size
from common import storage
from common.errors import NsecastError

INTERRUPTED = 130
MINUTES, PER_S = 2.0, 30.0


def main() -> None:
    args = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        rows, stopped = live(args) if args.live or args.minutes else scenarios(args)
    except KeyboardInterrupt:  # before there was anything to show
        rows, stopped = [], True
    except (NsecastError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    if stopped:
        print("stopped.", file=sys.stderr)
        raise SystemExit(INTERRUPTED)
    raise SystemExit(any(row.passed is False for row in rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.chaos", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--short", action="store_true", help="the default")
    mode.add_argument("--full", action="store_true")
    mode.add_argument("--live", action="store_true", help="a screen of kills and requests")
    parser.add_argument("--minutes", type=float, help=f"of kills in turn; default: {MINUTES:g}")
    parser.add_argument("--per-s", type=float, default=PER_S, help=f"requests then; default: {PER_S:g}")
    parser.add_argument("--only", help="names of scenarios, separated by commas")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=N", help="a size, as in `Size`")
    parser.add_argument("--home", type=Path, default=None, help="storage root with a release")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON to a file as well")
    args = parser.parse_args()
    if args.minutes is not None and not 0.1 <= args.minutes <= 240:
        parser.error("--minutes: from 0.1 to 240")
    if not 1 <= args.per_s <= 500:
        parser.error("--per-s: from 1 to 500")
    return args


def live(args: argparse.Namespace) -> tuple[list[Row], bool]:
    """Kills and promotions in turn; the row, and whether Ctrl-C ended it."""
    release = source(storage.home(args.home))
    console = Console(width=None if sys.stdout.isatty() else 160)
    row, stopped = show_kills(
        release, console, minutes=args.minutes or MINUTES, per_s=args.per_s, live=args.live
    )
    console.print(table([row]))
    return [row], stopped


def scenarios(args: argparse.Namespace) -> tuple[list[Row], bool]:
    """The rows of the scenarios, and whether Ctrl-C ended them."""
    facts = machine.facts()
    with tempfile.TemporaryDirectory(prefix="nse-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        release = source(args.home or folder / "source")
        work = Scenarios(release, folder, _size(args), args.full)
        rows, stopped = [], False
        try:
            for row in work.run(args.only.split(",") if args.only else []):
                rows.append(row)
        except KeyboardInterrupt:
            stopped = True
    document: dict[str, Any] = {"machine": facts, "release": release.id, "size": vars(work.size)}
    document["rows"] = [row.as_dict() for row in rows]
    if args.out:
        args.out.write_text(json.dumps(document, indent=1) + "\n")
    if args.json:
        print(json.dumps(document, indent=1))
    else:
        print(f"{machine.header(facts)}, release {release.id}")
        Console(width=None if sys.stdout.isatty() else 200).print(table(rows))
    return rows, stopped


def _size(args: argparse.Namespace) -> Size:
    given = dict(arg.split("=", 1) for arg in args.set)
    changes = {name: Size.__annotations__[name](text) for name, text in given.items()}
    return replace(FULL if args.full else SHORT, **changes)


if __name__ == "__main__":
    main()
