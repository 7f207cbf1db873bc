"""Metrics, traffic, logs, tracing and health checks."""
