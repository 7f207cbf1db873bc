"""What may be skipped where everything that can be installed is: a part of the tests' own pytest plugin."""

import os
from collections.abc import Generator
from typing import Any

import pytest

NO_SKIPS = "NSECAST_NO_SKIPS"
"""Where it is 1, a test that is skipped has failed, except for one of `ALLOWED`."""
ALLOWED = {
    "no second host: ip ": "a container may have no right to make network namespaces",
    "no second host: a network namespace needs root": "nobody can be made root",
    "a tmpfs cannot be mounted: ": "a container may have no right to mount, and nobody can be made root",
}
"""How a reason for skipping begins that no installation removes, and why."""


def missed(report: Any) -> None:
    """Turn a skip into a failure where what it needs can be had."""
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
