"""Where a command's work runs: ``--address``, read once for every command."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from common.errors import ConfigError

Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="auto|HOST:PORT|http://HEAD:8265",
        help="Run on that Ray cluster; http:// submits this command as a job. Default: Ray on this machine.",
    ),
]


def placed(address: str | None, home: Path) -> str | None:
    """Where this command's driver connects: ``HOST:PORT``, ``auto``, or None for Ray on this machine.

    With ``http://`` the whole command is submitted as a job instead, and this process ends with the job's
    exit code.

    Parameters
    ----------
    home : the storage root; ``auto`` prefers the cluster that ``nsecast cluster up`` started there

    Raises
    ------
    ConfigError
        If the address is of no known form.
    """
    if address is None:
        return None
    if is_job_server(address):
        from cluster.connect.jobs import submit

        raise typer.Exit(submit(address, without_address(sys.argv[1:]), home=named(home)))
    if "://" in address:
        raise ConfigError(
            f"--address {address}: not supported; with Ray Client a run ends when its connection drops. Use "
            "http://HEAD:8265, which submits the command as a job, or `auto` on one of the cluster's nodes."
        )
    if in_job() and named(home) is None:
        raise ConfigError(
            "job: the nodes name no storage root. Give --home, or set NSECAST_HOME on every node: what is "
            "written in a job's own folder goes with it."
        )
    if address == "auto":
        return (None if os.environ.get("RAY_ADDRESS") else _own(home)) or "auto"
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit()):
        raise ConfigError(f"--address: got {address!r}, need auto, HOST:PORT or http://HEAD:8265.")
    return address


def is_job_server(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def without_address(command: Sequence[str]) -> list[str]:
    """A command line without its ``--address``."""
    found, skip = [], False
    for word in command:
        if skip or word == "--address":
            skip = not skip
        elif not word.startswith("--address="):
            found.append(word)
    return found


def named(home: Path) -> Path | None:
    """The storage root if the user named one, or our own cluster is here: else nodes know a better one."""
    given = os.environ.get("NSECAST_HOME") or any(word.split("=")[0] == "--home" for word in sys.argv)
    return home if given or _own(home) else None


def in_job() -> bool:
    """Whether this process is the driver of a job, so that its code came with the job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def _own(home: Path) -> str | None:
    from cluster.connect.local_cluster import running

    found = running(home)
    return found.address if found else None
