"""Nightly retraining: ingest new files, train, backtest, gate, promote."""
