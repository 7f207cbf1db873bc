"""Errors next to the naive forecast, and tests of significance."""
