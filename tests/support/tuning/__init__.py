"""Searches for tests."""
