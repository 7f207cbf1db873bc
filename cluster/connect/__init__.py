"""Connecting to Ray."""
