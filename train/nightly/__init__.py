"""Nightly retraining: ingest new files, train, gate, promote."""
