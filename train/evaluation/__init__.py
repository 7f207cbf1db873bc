"""Forecasts scored: errors, direction, intervals and significance, by group."""
