"""Spans over OTLP, as Ray Serve calls the exporter."""

import importlib.util
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from support.machine.manifests import FOLDER

from common.errors import ConfigError
from serve.observability import tracing

INSTALLED = importlib.util.find_spec("opentelemetry.exporter.otlp") is not None


def test_without_the_exporter_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"nsecast\[tracing\]"):
        tracing.otlp()


@pytest.mark.skipif(not INSTALLED, reason="needs the extra `tracing`")
def test_a_span_arrives_at_the_collector_through_rays_own_loading(monkeypatch):
    from opentelemetry.sdk.trace import TracerProvider
    from ray.serve._private.tracing_utils import _load_span_processors

    arrived: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nsecast-test")
    provider = TracerProvider()
    for processor in _load_span_processors("serve.observability.tracing:otlp", "unused"):
        provider.add_span_processor(processor)
    with provider.get_tracer("test").start_as_current_span("replica_handle_request Router"):
        pass
    try:
        assert provider.force_flush(10_000)
    finally:
        provider.shutdown()
        server.shutdown()
        server.server_close()
    ((path, body),) = arrived
    assert path == "/v1/traces" and b"replica_handle_request Router" in body and b"nsecast-test" in body


def test_the_manifests_name_the_exporter_that_there_is():
    from ray._common.utils import import_attr
    from ray.serve._private.tracing_utils import _validate_tracing_exporter
    from ray.serve.schema import TracingConfig

    text = (FOLDER / "rayservice.yaml").read_text()
    path = re.search(r'exporter_import_path: "(\S+)"', text)[1]
    _validate_tracing_exporter(import_attr(path))
    assert TracingConfig(enabled=True, exporter_import_path=path, sampling_ratio=0.01).enabled
