"""``nsecast serve status`` against a server that is not ours."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

import nsecast

HEALTH = {"status": "healthy", "release": "r", "data_end": "2024-01-02", "synthetic": False, "problems": []}


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(HEALTH).encode())

    def log_message(self, *words: object) -> None:
        pass


@pytest.mark.parametrize("given", ["", "intranet.example"])
def test_a_server_on_this_machine_is_reached_without_the_environments_proxy(given, monkeypatch, capsys):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
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
