"""Releases, and what is stored about them, for tests."""
