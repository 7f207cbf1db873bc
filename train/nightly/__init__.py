"""Nightly retraining: ingest, train, backtest, gate, promote."""
