"""``nsecast cluster``: a test cluster on this machine, and jobs on any cluster."""

import json
from pathlib import Path
from typing import Annotated

import rich.box
import typer
from rich.table import Table

from common import storage
from common.console import console
from common.errors import ConfigError, RayUnavailable
from common.options import AsJson, Home

app = typer.Typer(help="A Ray test cluster on this machine, and jobs on any cluster.", no_args_is_help=True)


@app.command("up")
def start(
    nodes: Annotated[int, typer.Option(min=1, max=50, help="Ray nodes, each with its own processes.")] = 2,
    cpus_per_node: Annotated[int, typer.Option(min=1)] = 1,
    home: Home = None,
) -> None:
    """Start a Ray test cluster of several nodes on this machine's loopback; `down` ends it.

    If the cluster is up, missing nodes are added and dead ones restarted.
    """
    from cluster.connect.ports import listeners
    from cluster.local.cluster import up

    cluster, started = up(storage.home(home), nodes, cpus_per_node, _note)
    state = "is up" if started == nodes else f"is up, {started} started now" if started else "was up already"
    typer.echo(
        f"{nodes} nodes with {cpus_per_node} CPUs each: {state}, {cluster.address}; jobs: {cluster.dashboard}"
    )
    _note("Ray's token authentication is on; the token is in ~/.ray/auth_token, or in RAY_AUTH_TOKEN.")
    exposed = sorted({listener.port for listener in listeners(cluster.processes) if not listener.on_loopback})
    if exposed:
        _note(
            f"warning: Ray itself also listens beyond loopback, on {', '.join(map(str, exposed))}, and has "
            "no setting against it. On a network that you do not trust, close these ports with a firewall."
        )


@app.command()
def status(home: Home = None, as_json: AsJson = False) -> None:
    """Show the nodes of this storage root's cluster; exit 1 if it is down or a node is dead."""
    from cluster.connect.local_cluster import running
    from cluster.local.cluster import list_nodes

    cluster = running(storage.home(home))
    if cluster is None:
        if as_json:
            typer.echo(json.dumps({"up": False}))
        else:
            typer.echo("no cluster is up. Start one with `nsecast cluster up`.", err=True)
        raise typer.Exit(1)
    nodes = list_nodes(cluster)
    if as_json:
        document = {"up": True, "address": cluster.address, "dashboard": cluster.dashboard, "nodes": nodes}
        typer.echo(json.dumps(document, indent=1))
    else:
        table = Table(box=rich.box.SIMPLE_HEAD)
        for heading in ("node", "state", "CPUs"):
            table.add_column(heading, justify="right" if heading == "CPUs" else "left")
        for node in nodes:
            table.add_row(
                f"{node['ip']}{' (head)' if node['head'] else ''}", node["state"], str(node["cpus"])
            )
        console().print(table)
        typer.echo(f"drivers: --address auto ({cluster.address}); jobs: {cluster.dashboard}")
    if sum(node["state"] == "ALIVE" for node in nodes) < cluster.nodes:
        raise typer.Exit(1)


@app.command()
def down(home: Home = None) -> None:
    """End the processes of the cluster that `up` started, and no other Ray cluster."""
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
            help="Storage root as the nodes see it; default $NSECAST_HOME, else the nodes' own setting."
        ),
    ] = None,
) -> None:
    """Run a command as a Ray job: upload the code, stream the log, exit with the job's exit code.

    Ctrl-C stops the job. Paths are made absolute; the nodes must be able to read them.
    """
    from cluster.connect.address import is_job_server, named_home
    from cluster.connect.jobs import submit as run
    from cluster.connect.local_cluster import running

    root = storage.home(home)
    if address is None:
        cluster = running(root)
        if cluster is None:
            raise RayUnavailable(
                "no cluster is up here. Start one with `nsecast cluster up`, or give --address."
            )
        raise typer.Exit(run(cluster.dashboard, command, home=root))
    if not is_job_server(address):
        raise ConfigError(f"--address: got {address!r}, need the dashboard's, such as http://HEAD:8265.")
    raise typer.Exit(run(address, command, home=named_home(root)))


def _note(message: str) -> None:
    typer.echo(message, err=True)
