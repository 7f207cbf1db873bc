"""``nsecast cluster``: a cluster to try on this machine, and jobs on any."""

import json
import sys
from pathlib import Path
from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from common import storage
from common.errors import ConfigError, RayUnavailable
from common.options import AsJson, Home

app = typer.Typer(help="A Ray cluster on this machine to try, and jobs on any cluster.", no_args_is_help=True)


@app.command("up")
def start(
    nodes: Annotated[int, typer.Option(min=1, max=50, help="Ray nodes, each its own processes.")] = 2,
    cpus_per_node: Annotated[int, typer.Option(min=1)] = 1,
    home: Home = None,
) -> None:
    """Start a real cluster of several nodes on this machine's loopback, for trying; `down` ends it.

    Where one is up, nodes are added to it, and dead ones started again.
    """
    from cluster.connect.ports import listeners
    from cluster.local.cluster import up

    found, started = up(storage.home(home), nodes, cpus_per_node, _note)
    word = "is up" if started == nodes else f"is up, {started} started now" if started else "was up already"
    typer.echo(
        f"{nodes} nodes with {cpus_per_node} CPUs each: {word}, {found.address}; jobs: {found.dashboard}"
    )
    _note("Ray's token authentication is on; the token is in ~/.ray/auth_token, or in RAY_AUTH_TOKEN.")
    outside = sorted({each.port for each in listeners(found.processes) if not each.on_loopback})
    if outside:
        _note(
            f"warning: Ray itself also listens beyond loopback, on {', '.join(map(str, outside))}, and has "
            "no setting against it. On a network that you do not trust, close these ports with a firewall."
        )


@app.command()
def status(home: Home = None, as_json: AsJson = False) -> None:
    """The nodes of this storage root's cluster; exit 1 if none is up or one is dead."""
    from cluster.connect.local_cluster import running
    from cluster.local.cluster import alive

    found = running(storage.home(home))
    if found is None:
        if as_json:
            typer.echo(json.dumps({"up": False}))
        else:
            typer.echo("no cluster is up. Start one with `nsecast cluster up`.", err=True)
        raise typer.Exit(1)
    nodes = alive(found)
    if as_json:
        document = {"up": True, "address": found.address, "dashboard": found.dashboard, "nodes": nodes}
        typer.echo(json.dumps(document, indent=1))
    else:
        table = Table(box=rich.box.SIMPLE_HEAD)
        for heading in ("node", "state", "CPUs"):
            table.add_column(heading, justify="right" if heading == "CPUs" else "left")
        for node in nodes:
            table.add_row(
                f"{node['ip']}{' (head)' if node['head'] else ''}", node["state"], str(node["cpus"])
            )
        Console(width=None if sys.stdout.isatty() else 120).print(table)
        typer.echo(f"drivers: --address auto ({found.address}); jobs: {found.dashboard}")
    if sum(node["state"] == "ALIVE" for node in nodes) < len(found.nodes):
        raise typer.Exit(1)


@app.command()
def down(home: Home = None) -> None:
    """End the cluster that `up` started, by process number; other Ray clusters are left alone."""
    from cluster.local import cluster as local

    ended = local.down(storage.home(home))
    typer.echo(f"ended {ended} processes" if ended else "no cluster was up")


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def submit(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND ...", help="As after `nsecast`.")],
    address: Annotated[
        str | None, typer.Option(metavar="http://HEAD:8265", help="Default: the cluster of `up`.")
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(
            help="Storage root as the nodes see it; default $NSECAST_HOME, else what the nodes have."
        ),
    ] = None,
) -> None:
    """Run a command as a Ray job: its code is sent, its log streamed, and its exit code is this one's.

    Ctrl-C stops the job. Paths are sent in full: the nodes have to see them.
    """
    from cluster.connect.address import is_job_server
    from cluster.connect.jobs import submit as run
    from cluster.connect.local_cluster import running

    root = storage.home(home)
    if address is None:
        found = running(root)
        if found is None:
            raise RayUnavailable(
                "no cluster is up here. Start one with `nsecast cluster up`, or give --address."
            )
        raise typer.Exit(run(found.dashboard, command, home=root))
    if not is_job_server(address):
        raise ConfigError(f"--address: got {address!r}, need the dashboard's, such as http://HEAD:8265.")
    from cluster.connect.address import named

    raise typer.Exit(run(address, command, home=named(root)))


def _note(message: str) -> None:
    typer.echo(message, err=True)
