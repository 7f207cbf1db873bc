"""The checklist that a release must pass before it goes to production."""

from collections.abc import Callable
from dataclasses import dataclass

from common.release.manifest import Release
from train.gate import contents, sanity
from train.gate.skill import FLOOR_DAYS
from train.gate.subject import Finding, Subject, told


@dataclass(frozen=True)
class Check:
    """One line of the checklist, for people: ``found`` says everything that a failure needs said."""

    name: str
    passed: bool
    found: str
    needed: str


CHECKS: tuple[tuple[str, str, Callable[[Subject], Finding]], ...] = (
    ("files", "every file of a release, as published (sha256)", contents.files),
    ("scalers", "for every model and counter", contents.scalers),
    ("stock ids", "the mapping, the same as universe.json", contents.stock_ids),
    ("test MAPE recorded", "in the manifest and in every model's metadata", contents.recorded),
    ("test MAPE", f"under {contents.LIMIT:.0f} %, as the manifest says", contents.below_limit),
    ("target", f"8 to {contents.TARGET:.0f} %, or better", contents.within_target),
    ("skill", f"no worse than the last price up to {FLOOR_DAYS} days ahead", contents.price_skill),
    ("skill of intervals", "the prices held, pinball loss below the last price's", contents.interval_skill),
    ("models load", "every model loads and answers", contents.loading),
    ("no absurd value", "within what the stock ever did over such a time", sanity.no_absurd_value),
    ("prices", "positive, finite", sanity.positive_prices),
    ("intervals", "each inside the surer ones", sanity.nested_intervals),
    ("general tier answers", "every counter with enough data", sanity.general_tier_answers),
    ("all counters answer", "every counter with enough data", sanity.all_answer),
    ("no look-ahead", "as of a day, the same to the last digit", sanity.no_look_ahead),
)
"""Name, what is needed and how it is found out, in the order of the list."""


def run_checklist(release: Release) -> list[Check]:
    """Every check of one release, in the order of ``CHECKS``.

    A check that raises has failed, and says why. If the files are not as published, nothing of them is
    trusted: the other checks fail unread.

    Parameters
    ----------
    release : Release
        As `Registry.resolve` gives it; its files need not have been verified.
    """
    subject = Subject(release)
    checks: list[Check] = []
    for name, needed, check in CHECKS:
        if checks and not checks[0].passed:
            passed, found = False, "not looked at: the files are not those of a whole release"
        else:
            passed, found = _look(check, subject)
        checks.append(Check(name, passed, found, needed))
    return checks


def _look(check: Callable[[Subject], Finding], subject: Subject) -> Finding:
    try:
        passed, found = check(subject)
        return bool(passed), found
    except Exception as error:
        return False, told(error)
