"""The checklist that a release must pass before it goes to production."""

from collections.abc import Callable

from common.release import sanity
from common.release.manifest import Release
from common.release.subject import Check, Finding, Subject, run_check
from train.gate import contents
from train.gate.skill import FLOOR_DAYS

CHECKS: tuple[tuple[str, str, Callable[[Subject], Finding]], ...] = (
    ("files", "every file of a release, as published (sha256)", contents.files),
    ("scalers", "for every model and stock", contents.scalers),
    ("stock ids", "the mapping, the same as universe.json", contents.stock_ids),
    ("test MAPE recorded", "in the manifest and in every model's metadata", contents.recorded),
    ("test MAPE", f"under {contents.LIMIT:.0f} %, as the manifest says", contents.below_limit),
    ("target", f"8 to {contents.TARGET:.0f} %, or better", contents.within_target),
    ("skill", f"no worse than the last price up to {FLOOR_DAYS} days ahead", contents.price_skill),
    ("skill of intervals", "coverage, and pinball loss below the last price's", contents.interval_skill),
    ("models load", "every model loads and returns a forecast", contents.loading),
    *sanity.CHECKS,
)
"""Name, requirement and function of each check, in order."""


def run_checklist(release: Release) -> list[Check]:
    """Run every check on a release, in the order of ``CHECKS``.

    A check that raises fails, with the error as its finding. If the files are not as published, the other
    checks fail without being run. ``release`` need not have been verified.
    """
    subject = Subject(release)
    checks: list[Check] = []
    for name, needed, check in CHECKS:
        if checks and not checks[0].passed:
            found = "not checked: the release's files are damaged or incomplete"
            checks.append(Check(name, False, found, needed))
        else:
            checks.append(run_check(subject, name, needed, check))
    return checks
