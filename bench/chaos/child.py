"""`bench.chaos.work` as a process of its own, run to its end or ended at once."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.chaos.home import ROOT
from common.errors import TrainingError

CHILD_S = 400.0


@dataclass(frozen=True)
class _Child:
    process: "subprocess.Popen[bytes]"
    output: Path
    words: tuple[str, ...]

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_ready(self) -> None:
        deadline = time.monotonic() + CHILD_S
        while "ready\n" not in self.said:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise self.failed()
            time.sleep(0.01)

    def failed(self) -> TrainingError:
        words = " ".join(self.words)
        return TrainingError(f"chaos: {words}: exit {self.process.poll()}: {self.said[-2000:]}")


def run_child(*words: str, variables: Mapping[str, str] | None = None) -> float:
    """Run it to its end; the seconds it took once it was ready. TrainingError if it fails."""
    with _child(words, variables) as child:
        child.wait_ready()
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(CHILD_S)
        if child.process.poll() != 0:
            raise child.failed()
        return float(child.said.rpartition("done ")[2].split()[0])


def killed_child(after_s: float, *words: str) -> bool:
    """Run it and end it (SIGKILL) so long after it is ready; False if it had finished."""
    with _child(words) as child:
        child.wait_ready()
        try:
            status = child.process.wait(after_s)
        except subprocess.TimeoutExpired:
            os.killpg(child.process.pid, signal.SIGKILL)
            status = child.process.wait()
        if status not in (0, -signal.SIGKILL):
            raise child.failed()
        return status != 0


@contextmanager
def _child(words: tuple[str, ...], variables: Mapping[str, str] | None = None) -> Iterator[_Child]:
    with tempfile.NamedTemporaryFile(prefix="nse-chaos-") as output:
        process = subprocess.Popen(  # nosec B603 # our own command, no shell
            [sys.executable, "-m", "bench.chaos.work", *words],
            cwd=ROOT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield _Child(process, Path(output.name), words)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
