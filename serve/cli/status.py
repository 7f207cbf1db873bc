"""``nsecast serve status``: the status of a server."""

import json
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from cluster.connect.ports import beyond_loopback, is_loopback
from common import storage
from common.options import AsJson, Home


def server_record(root: Path) -> dict[str, Any]:
    """Return the URL and process id of the server of a storage root; empty if none was recorded."""
    try:
        state: dict[str, Any] = json.loads((root / "serve" / "server.json").read_bytes())
        return state
    except (OSError, ValueError):
        return {}


def status(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="Default: the server of this storage root.")] = None,
    home: Home = None,
    key: Annotated[
        str | None, typer.Option(envvar="NSECAST_KEY", help="An API key, if the server requires one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the status of a server; exit 1 if it does not respond."""
    state = {} if url else server_record(storage.home(home or context.obj))
    url = url or state.get("url") or "http://127.0.0.1:8000"
    options: dict[str, Any] = {"headers": {"X-API-Key": key} if key else {}, "timeout": 10}
    options["trust_env"] = not is_loopback(httpx.URL(url).host)  # else a SOCKS proxy fails even if unused
    try:
        responses = [httpx.get(f"{url}/api/v4/{page}", **options) for page in ("health", "stats")]
    except httpx.HTTPError as error:
        typer.echo(f"no server at {url}: {error}. Start one with `nsecast serve`.", err=True)
        raise typer.Exit(1) from None
    health, stats = (response.json() for response in responses)
    open_ports = [str(listener) for listener in beyond_loopback(state["pid"])] if "pid" in state else []
    if as_json:
        document = {"url": url, "open_ports": open_ports, "health": health, "stats": stats}
        typer.echo(json.dumps(document, indent=1))
    elif responses[0].status_code == 200:
        label = ", SYNTHETIC DATA" if health["synthetic"] else ""
        typer.echo(f"{url}  {health['status']}  {health['release']}, data to {health['data_end']}{label}")
        for problem in health["problems"]:
            typer.echo(f"  {problem}")
        if open_ports:
            typer.echo(f"  Ray beyond loopback: {', '.join(open_ports)}; see docs/troubleshooting.md")
        for tier, counts in stats.get("tiers", {}).items():
            typer.echo(
                f"  {tier:<15} {counts['requests']:>8,} requests  {counts['errors']:>6,} errors  "
                f"p50 {counts['latency_p50_ms'] or '-'} ms  p99 {counts['latency_p99_ms'] or '-'} ms"
            )
    else:
        typer.echo(f"{url}: {health.get('detail', responses[0].status_code)}", err=True)
    if any(response.status_code != 200 for response in responses):
        raise typer.Exit(1)
