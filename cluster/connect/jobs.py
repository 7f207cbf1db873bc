"""Run an ``nsecast`` command as a Ray job: upload the code, stream the log, return the exit code."""

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

from cluster.connect.code_package import stage
from cluster.connect.ray_private import use_token
from common import storage
from common.errors import ConfigError, RayUnavailable

DISTRIBUTED = ("train", "tune", "backtest", "retrain", "serve")
"""Commands that take ``--address``."""
STOPPED = 130
PATHS = ("--home", "--archive", "--config", "--universe", "--space", "--settings", "--keys", "--out")
"""Options whose value is a file or folder."""
STOP_S = 30.0
"""How long a stopped job may take to save its state and end."""
POLL_S = 1.0
LOST_S = 60.0
"""How long the job server may be unreachable before we stop following; the job itself continues."""


def submit(address: str, command: Sequence[str], *, home: Path | None = None) -> int:
    """Run ``nsecast COMMAND`` on the cluster and follow it to its end; Ctrl-C stops the job.

    Parameters
    ----------
    address : of the job server, ``http://HEAD:8265``
    command : the words after ``nsecast``
    home : storage root as the nodes see it; default: that of their environment

    Returns
    -------
    int
        The job's exit code; 130 if it was stopped.

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
    from ray.job_submission import JobSubmissionClient

    with tempfile.TemporaryDirectory(prefix="nse-code-") as folder:
        stage(Path(folder))
        with _connection_errors(address), _quiet():
            with _without("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # they take precedence over the argument
                client = JobSubmissionClient(address)
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
            _follow(client, job, log, timeout_s=STOP_S)
        return STOPPED


def job_command(command: Sequence[str]) -> list[str]:
    """Return the command as the job runs it: with ``--address auto`` and absolute paths.

    Raises
    ------
    ConfigError
        If it is empty or contains ``--address``.
    """
    if not command:
        raise ConfigError("submit: no command. Use `nsecast cluster submit -- train --quick`.")
    if any(word.split("=")[0] == "--address" for word in command):
        raise ConfigError("submit: the command runs on the cluster that it is sent to. Remove its --address.")
    words = _absolute(command)
    if words[0] in DISTRIBUTED and not (words[0] == "serve" and words[1:2] in (["status"], ["keys"])):
        words[1:1] = ["--address", "auto"]
    return words


def _absolute(command: Sequence[str]) -> list[str]:
    """Make the values of `PATHS` absolute: a job runs in another folder."""
    words, previous = [], ""
    for word in command:
        option, equals, text = word.partition("=")
        if previous in PATHS:
            word = storage.address_of(storage.locate(word))
        elif equals and option in PATHS:
            word = f"{option}={storage.address_of(storage.locate(text))}"
        words.append(word)
        previous = word
    return words


def _follow(client: Any, job: str, log: "_Log", *, timeout_s: float = float("inf")) -> None:
    """Print the job's log as it grows until the job ends; a server that is away for a while is waited for."""
    last_contact, ended = time.monotonic(), False
    deadline = last_contact + timeout_s
    while time.monotonic() < deadline:
        try:
            ended = client.get_job_status(job).is_terminal()
            log.show(client.get_job_logs(job))
            if ended:
                return
            last_contact = time.monotonic()
        except (RuntimeError, OSError) as error:
            if ended:  # the node with its log is gone
                return
            if time.monotonic() - last_contact > LOST_S:
                raise RayUnavailable(
                    f"job {job}: no answer from the server for {LOST_S:.0f} s: {error}. The job may still "
                    "run."
                ) from error
        time.sleep(POLL_S)


class _Log:
    """Prints what is new in a job's log, without Ray's own first lines."""

    def __init__(self, job: str) -> None:
        self._marker, self._printed = f"Running entrypoint for job {job}:", 0

    def show(self, text: str) -> None:
        """Print what follows the part that was printed before; ``text`` is the log from its beginning."""
        own = text.partition(self._marker)[2].partition("\n")[2]
        print(own[self._printed :], end="", flush=True)
        self._printed = max(self._printed, len(own))


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


@contextmanager
def _connection_errors(address: str) -> Iterator[None]:
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
    """Silence Ray's messages on its uploads; its loggers have levels of their own."""
    level = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(level)


@contextmanager
def _without(*names: str) -> Iterator[None]:
    variables = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(variables)
