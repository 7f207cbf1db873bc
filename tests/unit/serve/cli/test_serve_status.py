"""``nsecast serve status`` against a server that is not ours, and what ``nsecast serve`` refuses."""

import json
import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typer.testing import CliRunner

import nsecast
from cluster.connect.ports import free_port, need_free
from common import storage
from common.errors import ConfigError
from serve.cli.serve import _keys, _withdraw
from serve.cli.status import server_record

HEALTH = {"status": "healthy", "release": "r", "data_end": "2024-01-02", "synthetic": False, "problems": []}


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(HEALTH).encode())

    def log_message(self, *words: object) -> None:
        pass


@pytest.mark.parametrize("given", ["", "intranet.example"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_a_server_on_this_machine_is_reached_without_the_environments_proxy(
    given, proxy, monkeypatch, capsys
):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, given)
    monkeypatch.setattr(nsecast.signal, "signal", lambda *_: None)
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(sys, "argv", ["nsecast", "serve", "status", "--url", url])
        with pytest.raises(SystemExit) as stop:
            nsecast.main()
        server.shutdown()
    assert stop.value.code == 0 and f"{url}  healthy  r" in capsys.readouterr().out


def test_of_two_servers_of_one_storage_root_the_first_is_known_again_once_the_second_ends(tmp_path):
    record = tmp_path / "serve" / "server.json"
    ours, first = {"url": "http://b", "pid": os.getpid()}, {"url": "http://a", "pid": os.getppid()}
    storage.write_json(record, ours)
    _withdraw(tmp_path, first)
    assert server_record(tmp_path) == first
    _withdraw(tmp_path, {})
    assert server_record(tmp_path) == first
    storage.write_json(record, ours)
    _withdraw(tmp_path, {"url": "http://c", "pid": 2**22 + 1})
    assert not record.exists()


def test_a_taken_port_is_refused_with_the_process_that_has_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} .*Stop process {os.getpid()} "):
            need_free("127.0.0.1", port)
    need_free("127.0.0.1", port)


def test_a_storage_root_that_cannot_be_written_is_refused_before_ray_starts(tmp_path):
    (tmp_path / "serve").write_text("a file where the folder should be")
    words = ["serve", "--home", str(tmp_path), "--port", str(free_port())]
    result = CliRunner().invoke(nsecast.app, words)
    assert isinstance(result.exception, OSError) and str(tmp_path / "serve") in str(result.exception)


def test_keys_in_another_file_are_asked_for_with_the_file_that_keys_are_made_in(tmp_path):
    given, made = tmp_path / "mine.json", tmp_path / "serve" / "keys.json"
    with pytest.raises(ConfigError, match=f"{given}: no API key .* pass its file: --keys {made}"):
        _keys(tmp_path, "127.0.0.1", given)


def test_listing_no_keys_says_so(tmp_path):
    result = CliRunner().invoke(nsecast.app, ["serve", "keys", "--home", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (0, "") and "no API key in" in result.stderr
