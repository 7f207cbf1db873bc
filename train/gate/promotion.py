"""The gate to production: the checklist, and not worse than what is there."""

import logging
from dataclasses import dataclass
from typing import Any

from common.errors import BundleError, GateClosed, ReleaseNotFound
from common.model.registry import Registry
from common.model.release import Release
from train.gate.checklist import Check, run_checklist
from train.gate.contest import Contest, Report, contest
from train.snapshot import is_synthetic

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """What the gate found."""

    passed: bool
    checks: tuple[Check, ...]
    comparison: dict[str, Any] | None
    """With what is in production, see `Contest.figures`; None if nothing sound, or nothing else, is there."""
    reasons: tuple[str, ...]
    """Everything that speaks against it, a sentence each; empty if it passed."""


def judge(registry: Registry, reference: str, *, progress: Report = lambda *_: None) -> Verdict:
    """Judge a release by the checklist and against what is in production; moves nothing.

    If what is in production is damaged or gone, the checklist alone counts.

    Raises
    ------
    ReleaseNotFound
        If there is no such release.
    BundleError
        If its manifest, or the file of the production alias, cannot be read.
    """
    release = registry.resolve(reference)
    checks = run_checklist(release)
    reasons = [
        f"{check.name}: got {check.found}; need {check.needed}" for check in checks if not check.passed
    ]
    found = Contest({})
    rival = _sound_rival(registry, release)
    if rival is not None and checks[0].passed:
        found = contest(release, rival, progress=progress)
    reasons += found.reasons
    return Verdict(not reasons, tuple(checks), found.figures or None, tuple(reasons))


def promote_through_gate(
    registry: Registry, reference: str, *, force: bool = False, progress: Report = lambda *_: None
) -> tuple[Release, Verdict]:
    """Put a release in production if the gate lets it through.

    The move's entry in `Registry.history` keeps the evidence: ``gate``, the checks passed and the comparison;
    or, where ``force`` overruled the gate, ``forced`` and the ``reasons`` too.

    Raises
    ------
    GateClosed
        With every reason; production stays as it was. Its context has ``reasons`` and ``comparison``. Also
        if another release went to production while this one was judged.
    BundleError
        If a file of the release is not as published: not even ``force`` promotes that.
    ReleaseNotFound
        If there is no such release.
    """
    release, before = registry.open(reference), registry.production()
    verdict = judge(registry, release.id, progress=progress)
    if not verdict.passed and not force:
        raise GateClosed(
            f"release {release.id} does not go to production: {'; '.join(verdict.reasons)}. In production is "
            f"still {registry.production() or 'nothing'}. Train a better one, or use --force to promote all "
            "the same; that is recorded.",
            release=release.id,
            reasons=list(verdict.reasons),
            comparison=verdict.comparison,
        )
    passed = sum(check.passed for check in verdict.checks)
    evidence: dict[str, Any] = {
        "gate": {"checks": f"{passed} of {len(verdict.checks)}", "comparison": verdict.comparison}
    }
    if not verdict.passed:
        evidence |= {"forced": True, "reasons": list(verdict.reasons)}
    return registry.promote(release.id, evidence=evidence, instead_of=before), verdict


def gives_way(registry: Registry, release: Release) -> bool:
    """Whether what is in production is provisional next to a complete release, which may then try the gate.

    So are: nothing, a damaged release, synthetic data where these are real, a partial release, and a quick
    one where this is not.
    """
    production = registry.production()
    if production is None or not is_sound(registry, production):
        return True
    info = registry.resolve(production).info
    if is_synthetic(info.get("source")) != is_synthetic(release.info.get("source")):
        return not is_synthetic(release.info.get("source"))
    return bool(info.get("failed")) or bool(info.get("quick") and not release.info.get("quick"))


def is_sound(registry: Registry, release_id: str) -> bool:
    """Whether a release is there and as published; what is wrong goes to the log."""
    try:
        registry.verify(release_id)
    except (BundleError, ReleaseNotFound) as error:
        log.warning("release=%s is not used: %s", release_id, error)
        return False
    return True


def _sound_rival(registry: Registry, release: Release) -> Release | None:
    """What is in production, if it is another release and whole."""
    production = registry.production()
    if production in (None, release.id) or not is_sound(registry, production):
        return None
    return registry.resolve(production)
