"""A pytest plugin: which tests may be skipped on a machine where everything is installed."""

import os
from collections.abc import Generator
from typing import Any

import pytest

NO_SKIPS = "NSECAST_NO_SKIPS"
"""If 1, a skipped test fails unless its reason is in `ALLOWED`."""
ALLOWED = {
    "no second host: ip ": "a container may have no right to make network namespaces",
    "no second host: a network namespace needs root": "nobody can be made root",
    "a tmpfs cannot be mounted: ": "a container may have no right to mount, and nobody can be made root",
}
"""Beginnings of reasons that no installation can remove, and why."""


def missed(report: Any) -> None:
    """Turn a skip into a failure if installing something would prevent it."""
    if os.environ.get(NO_SKIPS) != "1" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    if not reason.removeprefix("Skipped: ").startswith(tuple(ALLOWED)):
        report.outcome, report.longrepr = "failed", f"{reason}\n{NO_SKIPS}=1: install what it needs"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report = yield
    missed(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    report = yield
    missed(report)
    return report
