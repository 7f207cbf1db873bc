"""Processes, clusters and waiting, for tests."""
