"""The command `nsecast serve` in a process of its own, for a block."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.machine.processes import running
from support.machine.waiting import until

ROOT = Path(__file__).resolve().parents[3]
START_S, STOP_S = 240, 90


def serve_command(
    home: Path | str, *options: str, port: int | None = None, settings: dict[str, Any] | None = None
) -> list[str]:
    """Return the command line; ``settings`` are written to a file in the storage root."""
    command = [sys.executable, "-m", "nsecast", "serve", "--home", str(home)]
    if port is not None:
        command += ["--port", str(port)]
    if settings is not None:
        path = Path(home) / "settings.json"
        path.write_text(json.dumps(settings))
        command += ["--settings", str(path)]
    return [*command, *options]


def wait_until_serving(process: subprocess.Popen[Any], log: Path) -> None:
    """Wait for the command's last line of its start; its log is the error if it ends before."""
    until(
        lambda: "Ctrl-C stops" in log.read_text() or process.poll() is not None,
        "the start of the server",
        patience_s=START_S,
        every_s=0.1,
    )
    assert process.poll() is None, log.read_text()


def stop(process: subprocess.Popen[Any], patience_s: float = STOP_S) -> None:
    """Stop the command as Ctrl-C does; it has to end without an error."""
    process.send_signal(signal.SIGINT)
    assert process.wait(patience_s) == 0


@contextmanager
def serve_process(command: list[str], log: Path) -> Iterator[subprocess.Popen[Any]]:
    """Run the command with its output in ``log`` until it serves; end it after the block."""
    with log.open("w") as out, running(command, cwd=ROOT, stdout=out, stderr=out) as process:
        wait_until_serving(process, log)
        yield process
