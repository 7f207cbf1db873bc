"""Run all comparisons one after the other and write one section of docs/results.md.

    python bench/all.py [--quick] [--only NAME,...] [--archive DIR] [--peers PYTHON] [--out FILE.md]

Each part is a program of this folder, run in its own process with a time limit. Its results are kept as JSON
below build/bench, and the section is rewritten after each part. A part that fails or takes too long becomes a
row that reports it, and the next part begins. Ctrl-C ends the current part and keeps the others. A part that
is not run keeps its last figures, with their own date and commit. The default takes less than forty minutes
on two idle cores. ``--quick`` tries every part on little work, in a few minutes; its figures mean nothing and
are written to build/bench/quick.md. Without ``--peers``, an interpreter that has the packages of peers.txt,
PyTorch and neuralforecast are left out.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import tables

KEPT = machine.ROOT / "build" / "bench"
RESULTS = machine.ROOT / "docs" / "results.md"
PROGRESS_S = 30
"""Between two lines of progress."""
STOP_S = 60
"""Time to clean up after a part was stopped."""


@dataclass(frozen=True)
class Part:
    """One program; ``about_s`` is what it takes on two quiet cores, with and without ``--quick``."""

    title: str
    program: str
    arguments: tuple[str, ...]
    quick: tuple[str, ...]
    about_s: tuple[int, int]
    limit_s: int
    table: Callable[[tables.Document], str]
    takes: tuple[str, ...] = ()
    """Which of ``archive``, ``peers`` and ``home`` it is given."""

    def command(self, args: argparse.Namespace, home: Path) -> list[str]:
        given = {"archive": args.archive, "peers": args.peers, "home": home}
        paths = {name: path.absolute() for name, path in given.items() if path and name in self.takes}
        options = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
        program = str(Path(__file__).with_name(f"{self.program}.py"))
        return [sys.executable, program, *(self.quick if args.quick else self.arguments), *options]


PARTS = {
    "training": Part(
        *("Training, one core", "train_speed"),
        ("--json", "--no-quality", "--seconds", "60"),
        ("--json", "--no-quality", "--seconds", "1", "--samples", "1024"),
        *((200, 90), 420, tables.training, ("archive", "peers")),
    ),
    "retrain": Part(
        *("A whole retraining", "retrain"),
        ("--json",),
        ("--json", "--years", "2", "--epochs", "1"),
        *((1280, 150), 1800, tables.retrain, ("archive", "home")),
    ),
    "rivals": Part(
        *("Accuracy", "rivals"),
        ("--json",),
        ("--json", "--cutoffs", "3", "--steps", "50"),
        *((120, 90), 600, tables.rivals, ("home", "peers")),
    ),
    "serving": Part(
        *("Serving", "serve_load"),
        ("--brief", "--seconds", "8"),
        ("--brief", "--seconds", "2"),
        *((180, 120), 400, tables.serving, ("home",)),
    ),
    "growth": Part(
        *("Symbols and workers", "scale"),
        ("--json", "--small"),
        ("--json", "--symbols", "33", "66", "--each", "10"),
        *((180, 100), 400, tables.growth),
    ),
    "history": Part(
        *("Years of history", "history"),
        ("--json",),
        ("--json", "--years", "1", "2"),
        *((150, 60), 400, tables.history, ("archive",)),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="for a trial; do not quote the figures")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--archive", type=Path, metavar="DIR", help="default: synthetic markets")
    parser.add_argument("--peers", type=Path, metavar="PYTHON")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="default: docs/results.md")
    args = parser.parse_args()
    names = [name for name in PARTS if name in args.only.split(",")]
    if unknown := set(args.only.split(",")) - set(PARTS):
        parser.error(f"no {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    kept = KEPT / "quick" if args.quick else KEPT
    page = args.out or (KEPT / "quick.md" if args.quick else RESULTS)
    kept.mkdir(parents=True, exist_ok=True)
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # else, of a background job, parts ignore one
        signal.signal(number, signal.default_int_handler)
    begun, ended = time.monotonic(), []
    try:
        for name in names:
            left = sum(PARTS[key].about_s[args.quick] for key in names[len(ended) :])
            say(f"{name}: part {len(ended) + 1} of {len(names)}, about {left / 60:.0f} min to go")
            ended.append(measured(name, args, kept))
            tables.put(page, body(kept))
            say(f"{name}: {ended[-1]['state']} after {ended[-1]['seconds']:.0f} s")
    except KeyboardInterrupt:
        say(f"stopped; {len(ended)} of {len(names)} parts are kept")
        raise SystemExit(130) from None
    say(f"{(time.monotonic() - begun) / 60:.1f} min in all; tables in {page}")
    raise SystemExit(any(item["state"] != "done" for item in ended))


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def measured(name: str, args: argparse.Namespace, kept: Path) -> dict[str, Any]:
    """Run a part and record its state, seconds, and its document or the reason why there is none."""
    part, home, log = PARTS[name], kept / "home", kept / f"{name}.log"
    commands = [part.command(args, home)]
    if (
        "home" in part.takes
        and name != "retrain"
        and not (home / "releases/aliases/production.json").exists()
    ):
        train = [sys.executable, "-m", "nsecast", "train", "--quick", "--json", "--home", str(home)]
        commands.insert(0, train + (["--archive", str(args.archive.absolute())] if args.archive else []))
    begun, payload = time.monotonic(), {"machine": machine.facts(), "document": None}
    with log.open("w") as errors:
        for command in commands:
            left = part.limit_s - (time.monotonic() - begun)
            state, out = run(name, command, errors, part.about_s[args.quick], left)
            if state != "done":
                break
    with contextlib.suppress(ValueError):
        payload["document"] = json.loads(out)
    if not payload["document"]:
        payload["reason"] = ([line for line in log.read_text(errors="replace").splitlines() if line] or [""])[
            -1
        ]
    payload |= {"state": state, "seconds": time.monotonic() - begun, "quick": args.quick}
    (kept / f"{name}.json").write_text(json.dumps(payload, indent=1))
    return payload


def run(name: str, command: list[str], errors: Any, about_s: int, limit_s: float) -> tuple[str, str]:
    """How a command ended, and what it printed; it is stopped when its time is over."""
    begun = time.monotonic()
    process = subprocess.Popen(
        command, cwd=machine.ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
    )
    while True:
        try:
            out, _ = process.communicate(timeout=PROGRESS_S)
            return ("done" if process.returncode == 0 else f"exit code {process.returncode}"), out
        except subprocess.TimeoutExpired:
            say(f"{name}: {time.monotonic() - begun:.0f} s of about {about_s}")
            if time.monotonic() - begun > limit_s:
                stop(process)
                return f"stopped: longer than {limit_s:.0f} s", ""
        except KeyboardInterrupt:
            stop(process)
            raise


def stop(process: "subprocess.Popen[str]") -> None:
    """As Ctrl-C does, so that it ends what it started; then for good."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=STOP_S)
            return


def body(kept: Path) -> str:
    """The section, of every part that something is kept of."""
    files = {name: kept / f"{name}.json" for name in PARTS}
    results = {name: json.loads(path.read_bytes()) for name, path in files.items() if path.exists()}
    took = sum(result["seconds"] for result in results.values())
    parts = [f"{took / 60:.0f} minutes in all. {machine.header(latest(results))}.\n"]
    for name, item in results.items():
        date, load, commit = (item["machine"][key] for key in ("date", "load", "commit"))
        at = f"{date}, load {load} at the start, commit {commit}"
        parts += [
            f"**{PARTS[name].title}** (`bench/{PARTS[name].program}.py`, {item['seconds']:.0f} s; {at})\n"
        ]
        if item["quick"]:
            parts += ["Tried on little work: no figures to quote.\n"]
        if item["state"] != "done":
            parts += [f"**{item['state']}**" + (f": `{item['reason']}`\n" if item.get("reason") else "\n")]
        if item["document"]:
            parts += [PARTS[name].table(item["document"])]
    return "\n".join(parts)


def latest(documents: dict[str, Any]) -> dict[str, Any]:
    """What the newest part ran on."""
    facts: dict[str, Any] = max(
        (document["machine"] for document in documents.values()), key=lambda document: document["date"]
    )
    return facts


if __name__ == "__main__":
    main()
