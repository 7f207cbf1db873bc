"""Benchmarks, and load and faults (`bench.chaos`); no part of the product."""
