"""Backtest and evaluation: errors, direction, intervals and significance by group."""
