"""``nsecast serve``: serve the production release over HTTP."""

import functools
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
import typer

from cluster.connect.address import Address, resolve_address
from cluster.connect.ports import Listener, is_loopback, need_free
from common import storage
from common.errors import BundleError, ConfigError, NsecastError, ReleaseNotFound
from common.options import Home
from common.release.registry import Registry
from serve.auth.keys import KeyFile
from serve.cli.status import server_record, status
from serve.launch.proxy_environment import environment, hardened
from serve.settings import ServeSettings, read_settings

_note = functools.partial(typer.echo, err=True)
app = typer.Typer(help="Serve the production release over HTTP.", invoke_without_command=True)


@app.callback()
def serve(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    host: Annotated[
        str, typer.Option(help="0.0.0.0: reachable from other machines; needs keys.")
    ] = "127.0.0.1",
    home: Home = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Require API keys; beyond loopback the default is <home>/serve/keys.json."
        ),
    ] = None,
    haproxy: Annotated[bool, typer.Option(help="HAProxy ingress and Ray Serve's throughput mode.")] = True,
    specific_max: Annotated[int, typer.Option(min=1, help="Maximum replicas of the specific models.")] = 4,
    cors: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Web pages that may call the API.")
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Further settings, see serve/settings.py; also JSON."),
    ] = None,
    train: Annotated[bool, typer.Option(help="Train a quick synthetic release if there is none.")] = True,
    address: Address = None,
) -> None:
    """Start local Ray and serve; Ctrl-C stops everything.

    On a cluster (--address) the head node listens, with HAProxy if its nodes were started with it.
    """
    context.obj = home
    if context.invoked_subcommand:
        return
    root = storage.home(home)
    cluster = resolve_address(address, root)
    keys = _keys(root, host, keys)
    values = {
        "home": str(root),
        "keys": str(keys) if keys else None,
        "loopback": is_loopback(host),
        "behind_haproxy": haproxy and cluster is None,
        "cors_origins": cors or (),
        "specific_max": specific_max,
        "access_log": str(root / "serve" / "logs"),
    }
    values |= read_settings(settings) if settings else {}
    chosen = ServeSettings.parse(values, where=str(settings or "serve"))
    need_free(host, port)
    _need_writable(root / "serve")
    _need_release(root, train)
    _run(chosen, root, host, port, haproxy, cluster)


app.command()(status)


@app.command("keys")
def manage_keys(
    context: typer.Context,
    add: Annotated[str | None, typer.Option(metavar="NAME", help="Create a key; it is shown once.")] = None,
    admin: Annotated[
        bool, typer.Option(help="The key may also refresh the release and clear caches.")
    ] = False,
    revoke: Annotated[str | None, typer.Option(metavar="ID")] = None,
    home: Home = None,
) -> None:
    """List, create or revoke API keys; a running server sees the change."""
    keys = KeyFile(storage.home(home or context.obj) / "serve" / "keys.json")
    if add:
        typer.echo(keys.create(add, ("read", "admin") if admin else ("read",)))
    if revoke:
        keys.revoke(revoke)
    if not add:
        clients = keys.clients()
        for client in clients:
            typer.echo(f"{client.id}  {client.name}  {', '.join(sorted(client.scopes))}")
        if not clients:
            _note(f"no API key in {keys.path}. Make one with --add NAME.")


@app.command()
def haproxy(
    folder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the wrapper, local to this node."),
    ] = None,
) -> None:
    """Harden HAProxy on a Ray node that you start: eval "$(nsecast serve haproxy)", then `ray start`."""
    folder = folder or Path.home() / ".nsecast" / "haproxy"
    for name, value in hardened(folder.absolute()).items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _run(chosen: ServeSettings, root: Path, host: str, port: int, haproxy: bool, address: str | None) -> None:
    with tempfile.TemporaryDirectory(prefix="nse-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if address is None:
            os.environ.update(environment(folder, haproxy=haproxy))
        from serve.server import running

        state, other = root / "serve" / "server.json", server_record(root)
        if other and psutil.pid_exists(other["pid"]):
            _note(
                f"another server of this storage root is at {other['url']}; both serve what is in production"
            )
        with running(chosen, host=host, port=port, folder=folder, address=address, report=_note) as service:
            storage.write_json(state, {"url": service.url, "pid": os.getpid()})
            try:
                _announce(service.url, service.open_ports, chosen)
                service.stay()
            except KeyboardInterrupt:
                _note("stopping: running requests are finished first")
            finally:
                _withdraw(root, other)
    _note("stopped.")


def _announce(url: str, open_ports: list[Listener], chosen: ServeSettings) -> None:
    release = (
        httpx.get(f"{url}/readyz", timeout=10, trust_env=False).status_code == 200
        and Registry(Path(chosen.home), offline_ok=True).production()
    )
    typer.echo(f"{url}  serves {release}; docs at {url}/docs; Ctrl-C stops.")
    typer.echo(f"access log: {chosen.access_log}; keys: {chosen.keys or 'off'}", err=True)
    if open_ports:
        _note(
            f"warning: Ray itself listens beyond loopback on {len(open_ports)} ports (`nsecast serve status` "
            "names them); see docs/troubleshooting.md."
        )


def _keys(root: Path, host: str, given: Path | None) -> Path | None:
    """Return the key file to use; raises ConfigError if it is required and has no key."""
    if given is None and is_loopback(host):
        return None
    path = given or root / "serve" / "keys.json"
    if not KeyFile(path).clients():
        made = root / "serve" / "keys.json"
        elsewhere = "" if path.resolve() == made.resolve() else f", and pass its file: --keys {made}"
        reason = "--keys" if given else host
        raise ConfigError(
            f"{path}: no API key in it, and {reason} needs one. Make one: `nsecast serve keys --add NAME`"
            f"{elsewhere}."
        )
    return path


def _need_writable(folder: Path) -> None:
    """Check that logs and forecasts can be kept; raises OSError if not, before Ray starts."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def _need_release(root: Path, train: bool) -> None:
    """Check that a release is in production; train a quick one if none was ever published."""
    registry = Registry(root)
    try:
        if registry.production():
            registry.open("production")
            return
    except (BundleError, ReleaseNotFound) as error:
        raise NsecastError(f"production cannot be served: {error.message}") from None
    if registry.releases() or not train:
        registry.resolve("production")  # raises with the next step
    where = storage.display_path(registry.folder)
    _note(f"no release in {where}: training a quick one on the synthetic market first.")
    if _train(root) or not registry.production():
        raise NsecastError(
            "the quick training made no release. See the messages above, then run `nsecast train`."
        )


def _train(root: Path) -> int:
    """Run a quick training and return its exit status; Ctrl-C stops it so that it can be continued."""
    command = [sys.executable, "-m", "nsecast", "train", "--quick", "--home", str(root)]
    # In its own process group, so that it gets one signal, from us.
    with subprocess.Popen(command, process_group=0) as training:  # nosec B603 # our own command, no shell
        try:
            return training.wait()
        except KeyboardInterrupt:
            training.terminate()
            training.wait()
            raise


def _withdraw(root: Path, other: dict[str, Any]) -> None:
    """Remove this server's record, or put back that of another server which still runs."""
    if other and psutil.pid_exists(other["pid"]):
        storage.write_json(root / "serve" / "server.json", other)
    elif server_record(root).get("pid") == os.getpid():
        (root / "serve" / "server.json").unlink(missing_ok=True)
