"""Benchmarks, and tests of load and faults (`bench.chaos`); not part of the product."""
