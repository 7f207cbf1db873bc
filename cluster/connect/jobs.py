"""A command of ours as a Ray job: sent with its code, its log streamed, its exit code returned."""

import asyncio
import logging
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cluster.connect.ray_private import use_token
from cluster.connect.source import stage
from common import storage
from common.errors import ConfigError, RayUnavailable

DISTRIBUTED = ("train", "tune", "backtest", "retrain", "serve")
"""Commands that take ``--address``."""
STOPPED = 130
PATHS = ("--home", "--archive", "--config", "--universe", "--space", "--settings", "--keys", "--out")
"""Options of our commands that name a file or folder."""
STOP_S = 30.0
"""How long a stopped job may take to end: it writes down what it has."""
QUIET_S = 1.0
LOST_S = 60.0
"""How long the job server may be silent before we give up on it; the job itself goes on."""


def submit(address: str, command: Sequence[str], *, home: Path | None = None) -> int:
    """Run ``nsecast COMMAND`` on the cluster and follow it to its end; Ctrl-C stops the job.

    Parameters
    ----------
    address : of the job server, ``http://HEAD:8265``
    command : as it would follow ``nsecast``
    home : storage root as the nodes see it; default: what their environment says

    Returns
    -------
    int
        The job's own exit code; 130 if it was stopped.

    Raises
    ------
    RayUnavailable
        If the server does not answer, or refuses the token.
    """
    words = job_command(command)
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": f"{STOP_S:.0f}"}
    if home:
        variables["NSECAST_HOME"] = storage.address_of(home)
    use_token()
    with tempfile.TemporaryDirectory(prefix="nse-code-") as folder:
        stage(Path(folder))
        with _speaking(address), _quiet():
            client = _client(address)
            job = client.submit_job(
                entrypoint="exec " + shlex.join(["python", "-m", "nsecast", *words]),
                runtime_env={"working_dir": folder, "env_vars": variables},
                metadata={"job_name": f"nsecast {words[0]}"},
            )
    print(f"job {job} on {address}", file=sys.stderr)
    log = _Log(job)
    try:
        _follow(client, job, log)
        return _exit_code(client, job)
    except KeyboardInterrupt:
        print(f"stopping job {job}", file=sys.stderr)
        with suppress(Exception):
            client.stop_job(job)
            _follow(client, job, log, patience_s=STOP_S)
        return STOPPED


def job_command(command: Sequence[str]) -> list[str]:
    """``command`` as the job runs it: on the cluster it is in, and with absolute paths.

    Raises
    ------
    ConfigError
        If there is none, or it names an address itself.
    """
    if not command:
        raise ConfigError("submit: no command. Use `nsecast cluster submit -- train --quick`.")
    if any(word.split("=")[0] == "--address" for word in command):
        raise ConfigError("submit: the command runs on the cluster it is sent to; leave its --address out.")
    words = _absolute(command)
    if words[0] in DISTRIBUTED and not (words[0] == "serve" and words[1:2] in (["status"], ["keys"])):
        words[1:1] = ["--address", "auto"]
    return words


def _absolute(command: Sequence[str]) -> list[str]:
    """``command`` with the values of `PATHS` in full: a job works in another folder."""
    words, before = [], ""
    for word in command:
        option, equals, text = word.partition("=")
        if before in PATHS:
            word = storage.address_of(storage.locate(word))
        elif equals and option in PATHS:
            word = f"{option}={storage.address_of(storage.locate(text))}"
        words.append(word)
        before = word
    return words


def _follow(client: Any, job: str, log: "_Log", *, patience_s: float = float("inf")) -> None:
    """Print the job's log until it has ended; what was printed before a broken connection is not again."""
    deadline, heard = time.monotonic() + patience_s, time.monotonic()

    async def stream() -> None:
        nonlocal heard
        log.begin()
        async for text in client.tail_job_logs(job):
            log.take(text)
            heard = time.monotonic()

    while time.monotonic() < deadline:
        with suppress(RuntimeError, OSError, asyncio.TimeoutError):
            asyncio.run(asyncio.wait_for(stream(), None if patience_s == float("inf") else patience_s))
        try:
            if client.get_job_status(job).is_terminal():
                return
            heard = time.monotonic()
        except (RuntimeError, OSError) as error:
            if time.monotonic() - heard > LOST_S:
                raise RayUnavailable(
                    f"job {job}: the server was silent for {LOST_S:.0f} s: {error}. The job may still run."
                ) from error
        time.sleep(QUIET_S)


class _Log:
    """A job's log as it comes, possibly from its beginning again; Ray's own first lines are left out."""

    def __init__(self, job: str) -> None:
        self._first = f"Running entrypoint for job {job}:"
        self._head: str | None = ""
        self._place = self._printed = 0

    def begin(self) -> None:
        """The next text is the log's beginning."""
        self._head, self._place = "", 0

    def take(self, text: str) -> None:
        if self._head is not None:
            self._head += text
            _, found, rest = self._head.partition(self._first)
            _, ended, text = rest.partition("\n")
            if not (found and ended):
                return
            self._head = None
        print(text[max(0, self._printed - self._place) :], end="", flush=True)
        self._place += len(text)
        self._printed = max(self._printed, self._place)


def _exit_code(client: Any, job: str) -> int:
    info = client.get_job_info(job)
    status = str(getattr(info.status, "value", info.status))
    if status == "SUCCEEDED":
        return 0
    if status == "STOPPED":
        return STOPPED
    code = info.driver_exit_code
    if code is None:
        print(f"error: job {job}: {info.message}", file=sys.stderr)
        return 1
    return code if code > 0 else 128 - code if code < 0 else 1


def _client(address: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    with _without("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # Ray lets these overrule the address given
        return JobSubmissionClient(address)


@contextmanager
def _speaking(address: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ConnectionError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise RayUnavailable(
            f"{address}: {reason[:400]}. Check that the cluster is up, that the address is its dashboard's, "
            "and that ~/.ray/auth_token (or RAY_AUTH_TOKEN) is the cluster's token."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Ray's reports of what it uploads: its loggers have levels of their own."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _without(*names: str) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
