"""The option ``--address``: where a command runs."""

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


def resolve_address(address: str | None, home: Path) -> str | None:
    """Return where the driver connects: ``HOST:PORT``, ``auto``, or None for Ray on this machine.

    An ``http://`` address submits the whole command as a job, and this process exits with the job's exit
    code.

    Parameters
    ----------
    home : storage root; ``auto`` prefers the cluster that ``nsecast cluster up`` started there

    Raises
    ------
    ConfigError
        If the address is malformed or not supported.
    """
    if address is None:
        return None
    if is_job_server(address):
        from cluster.connect.jobs import submit

        raise typer.Exit(submit(address, without_address(sys.argv[1:]), home=named_home(home)))
    if "://" in address:
        raise ConfigError(
            f"--address {address}: not supported; with Ray Client a run ends when its connection drops. Use "
            "http://HEAD:8265, which submits the command as a job, or `auto` on one of the cluster's nodes."
        )
    if in_job() and named_home(home) is None:
        raise ConfigError(
            "job: the nodes name no storage root. Give --home, or set NSECAST_HOME on every node: files in a "
            "job's own folder are deleted with the job."
        )
    if address == "auto":
        return (None if os.environ.get("RAY_ADDRESS") else _local_address(home)) or "auto"
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit()):
        raise ConfigError(f"--address: got {address!r}, need auto, HOST:PORT or http://HEAD:8265.")
    return address


def is_job_server(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def without_address(command: Sequence[str]) -> list[str]:
    """Return a command line without its ``--address``."""
    words, skip = [], False
    for word in command:
        if skip or word == "--address":
            skip = not skip
        elif not word.startswith("--address="):
            words.append(word)
    return words


def named_home(home: Path) -> Path | None:
    """Return the storage root if the user named it or our cluster runs here, else None: the nodes' own."""
    is_named = os.environ.get("NSECAST_HOME") or any(word.split("=")[0] == "--home" for word in sys.argv)
    return home if is_named or _local_address(home) else None


def in_job() -> bool:
    """Return whether this process is the driver of a job, whose code came with the job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def _local_address(home: Path) -> str | None:
    from cluster.connect.local_cluster import running

    cluster = running(home)
    return cluster.address if cluster else None
