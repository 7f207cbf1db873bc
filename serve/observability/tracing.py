"""Where the spans of Ray Serve's OpenTelemetry hook go (``tracing_config`` of a Serve configuration).

Ray makes the spans: one for each HTTP request in a router, one for each call of a model replica below it.
"""

from typing import TYPE_CHECKING

from common.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor


def otlp() -> "list[SpanProcessor]":
    """Send spans over OTLP/HTTP; address, headers and service name come from the usual ``OTEL_*`` variables.

    To be named as ``exporter_import_path: serve.observability.tracing:otlp``.

    Raises
    ------
    ConfigError
        If the exporter is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise ConfigError(
            "tracing: opentelemetry-exporter-otlp-proto-http is not installed. "
            "Install it with `pip install 'nsecast[tracing]'` on every node."
        ) from None
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return [BatchSpanProcessor(OTLPSpanExporter())]
