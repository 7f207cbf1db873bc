"""Fit one network."""
