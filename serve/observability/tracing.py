"""Export of the spans of Ray Serve's OpenTelemetry hook (``tracing_config`` of a Serve configuration).

Ray creates one span for each HTTP request in a router, and below it one for each call of a model replica.
"""

from typing import TYPE_CHECKING

from common.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor


def otlp() -> "list[SpanProcessor]":
    """Send spans over OTLP/HTTP, configured by the standard ``OTEL_*`` variables.

    Use it as ``exporter_import_path: serve.observability.tracing:otlp``.

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
