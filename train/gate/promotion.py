"""The gate to production: the checklist, and not worse than what is there or than the best that was there."""

import logging
from dataclasses import dataclass
from typing import Any

from common.errors import BundleError, GateClosed, ReleaseNotFound
from common.release.alias import anchor_of
from common.release.manifest import Release
from common.release.registry import Registry
from train.gate.checklist import Check, run_checklist
from train.gate.comparison import BEST, Comparison, Report, contest
from train.progress.snapshot import is_synthetic

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """What the gate found."""

    passed: bool
    checks: tuple[Check, ...]
    comparison: dict[str, Any] | None
    """With production, see `Comparison.figures`; None if nothing sound, or nothing else, is in production."""
    reasons: tuple[str, ...]
    """Everything that speaks against it, a sentence each; empty if it passed."""
    best: dict[str, Any] | None = None
    """With the best release that was in production, in the same form; None if that is the one in production,
    this one, or not known."""
    anchor: str | None = None
    """The best release that was in production, once this one is; see `common.release.alias.anchor_of`."""

    @property
    def evidence(self) -> dict[str, Any]:
        """What the alias' history keeps of it."""
        passed = sum(check.passed for check in self.checks)
        gate = {
            "checks": f"{passed} of {len(self.checks)}",
            "comparison": self.comparison,
            "best": self.best,
        }
        return {"gate": gate} | ({"anchor": self.anchor} if self.anchor else {})


def judge(registry: Registry, reference: str, *, progress: Report = lambda *_: None) -> Verdict:
    """Judge a release by the checklist, against what is in production and against the best that was; moves
    nothing.

    If what is in production is damaged or gone, it is not compared with. The best release so far, the
    *anchor*, is named by the newest move of the alias' history that names one, whatever was rolled back
    since; where none does, it is the release in production. It is scored anew on the same days as the
    challenger. If it is damaged, gone, or cannot be compared, the evidence says so and nothing speaks
    against the challenger. A release that passes becomes the anchor if it is at least as good, or if the
    old one can never be compared with.

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
    found, best = Comparison({}), Comparison({})
    anchor = _anchor(registry)
    rival = _sound(registry, registry.production(), release)
    if rival is not None and checks[0].passed:
        found = contest(release, rival, progress=progress)
    against = found
    if anchor and checks[0].passed and (rival is None or anchor != rival.id):
        against = best = _against_best(registry, release, anchor, progress)
    reasons += [reason for reason in (*found.reasons, *best.reasons) if reason not in reasons]
    passed = not reasons
    return Verdict(
        passed,
        tuple(checks),
        found.figures or None,
        tuple(reasons),
        best.figures or None,
        _next_anchor(release, anchor, against) if passed else anchor,
    )


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
            f"still {registry.production() or 'nothing'}. Train a better one, or use --force to promote it "
            "anyway; that is recorded.",
            release=release.id,
            reasons=list(verdict.reasons),
            comparison=verdict.comparison,
            best=verdict.best,
        )
    evidence = verdict.evidence
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


def _sound(registry: Registry, release_id: str | None, but: Release) -> Release | None:
    """A release, if it is another one than ``but`` and whole."""
    if release_id in (None, but.id) or not is_sound(registry, release_id):
        return None
    return registry.resolve(release_id)


def _anchor(registry: Registry) -> str | None:
    """The best release so far: the one that is named, else what is in production unless that was forced."""
    history = registry.history()
    production = registry.production()
    moves = [move for move in history if move["release"] == production and move["action"] != "rollback"]
    return anchor_of(history) or (None if moves and moves[-1].get("forced") else production)


def _against_best(registry: Registry, release: Release, anchor: str, progress: Report) -> Comparison:
    rival = _sound(registry, anchor, release)
    if rival is not None:
        return contest(release, rival, role=BEST, progress=progress)
    if anchor == release.id:
        return Comparison({})
    return Comparison({"against": anchor, "comparable": False, "reason": "it is gone or damaged"}, ever=False)


def _next_anchor(release: Release, anchor: str | None, against: Comparison) -> str:
    """The anchor once the release is in production, by its contest with the one there is."""
    better = against.gains is not None and against.gains >= 0
    lost = against.gains is None and not against.ever
    return release.id if anchor is None or better or lost else anchor
