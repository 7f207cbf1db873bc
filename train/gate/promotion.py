"""The gate to production: the checklist, and comparisons with production and the best release so far."""

import logging
from dataclasses import dataclass
from typing import Any

from common.errors import BundleError, GateClosed, ReleaseNotFound
from common.release.alias import anchor_of
from common.release.manifest import Release
from common.release.registry import Registry
from common.release.subject import Check
from train.gate.checklist import run_checklist
from train.gate.comparison import BEST, Comparison, Progress, compare_releases
from train.progress.snapshot import is_synthetic

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """The result of the gate."""

    passed: bool
    checks: tuple[Check, ...]
    comparison: dict[str, Any] | None
    """With production, see `Comparison.figures`; None if nothing, a damaged release or this one is there."""
    reasons: tuple[str, ...]
    """The reasons against the release, a sentence each; empty if it passed."""
    best: dict[str, Any] | None = None
    """The comparison with the best release that was in production; None if that is unknown, the release in
    production, or this one."""
    anchor: str | None = None
    """The best release, once this one is in production; see `common.release.alias.anchor_of`."""

    @property
    def evidence(self) -> dict[str, Any]:
        """The part that the production alias' history keeps."""
        checks = f"{sum(check.passed for check in self.checks)} of {len(self.checks)}"
        gate = {"checks": checks, "comparison": self.comparison, "best": self.best}
        return {"gate": gate} | ({"anchor": self.anchor} if self.anchor else {})


def judge(registry: Registry, reference: str, *, progress: Progress = lambda *_: None) -> Verdict:
    """Run the checklist, and compare a release with production and with the best release so far.

    A damaged or missing release in production is not compared. The best release so far, the *anchor*, is the
    one named by the newest entry of the alias' history that names one, even if that was rolled back; without
    such an entry, it is the release in production. It is scored again, on the same days as the challenger. If
    it is damaged, missing or not comparable, the evidence says so and nothing speaks against the
    challenger. A release that passes becomes the anchor if it is at least as good, or if the old anchor can
    never be compared. This function does not change production.

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
    comparison, best = Comparison({}), Comparison({})
    anchor = _anchor(registry)
    rival = _sound(registry, registry.production(), release)
    if rival is not None and checks[0].passed:
        comparison = compare_releases(release, rival, progress=progress)
    against = comparison
    if anchor and checks[0].passed and (rival is None or anchor != rival.id):
        against = best = _against_best(registry, release, anchor, progress)
    reasons += [reason for reason in (*comparison.reasons, *best.reasons) if reason not in reasons]
    if not reasons:
        better = against.gains is not None and against.gains >= 0
        lost = against.gains is None and not against.comparable_later
        anchor = release.id if anchor is None or better or lost else anchor
    return Verdict(
        not reasons,
        tuple(checks),
        comparison.figures or None,
        tuple(reasons),
        best.figures or None,
        anchor,
    )


def promote_through_gate(
    registry: Registry, reference: str, *, force: bool = False, progress: Progress = lambda *_: None
) -> tuple[Release, Verdict]:
    """Put a release in production if it passes the gate.

    Its entry in `Registry.history` contains the evidence: ``gate``, with the checks passed and the
    comparisons; and, if ``force`` overruled the gate, ``forced`` and the ``reasons``.

    Raises
    ------
    GateClosed
        With every reason; production is unchanged. Its context has ``reasons`` and ``comparison``. Also
        raised if another release went to production in the meantime.
    BundleError
        If a file of the release is not as published; ``force`` does not help.
    ReleaseNotFound
        If there is no such release.
    """
    release, before = registry.open(reference), registry.production()
    verdict = judge(registry, release.id, progress=progress)
    if not verdict.passed and not force:
        raise GateClosed(
            f"release {release.id} does not go to production: {'; '.join(verdict.reasons)}. In production is "
            f"still {registry.production() or 'nothing'}. Train a better release, or use --force to promote "
            "it anyway; that is recorded.",
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
    """Return whether the release in production is provisional, so that a complete release may try the gate.

    Provisional are: no release, a damaged or partial one, one of synthetic data if ``release`` is of real
    data, and a quick one if ``release`` is not.
    """
    production = registry.production()
    if production is None or not is_sound(registry, production):
        return True
    info = registry.resolve(production).info
    if is_synthetic(info.get("source")) != is_synthetic(release.info.get("source")):
        return not is_synthetic(release.info.get("source"))
    return bool(info.get("failed")) or bool(info.get("quick") and not release.info.get("quick"))


def is_sound(registry: Registry, release_id: str) -> bool:
    """Return whether a release exists and is as published; log the reason if not."""
    try:
        registry.verify(release_id)
    except (BundleError, ReleaseNotFound) as error:
        log.warning("release=%s is not used: %s", release_id, error)
        return False
    return True


def _sound(registry: Registry, release_id: str | None, challenger: Release) -> Release | None:
    """Return a release if it is undamaged and not the challenger."""
    if release_id in (None, challenger.id) or not is_sound(registry, release_id):
        return None
    return registry.resolve(release_id)


def _anchor(registry: Registry) -> str | None:
    """Return the best release so far: the one named in the history, else production unless it was forced."""
    history = registry.history()
    production = registry.production()
    moves = [move for move in history if move["release"] == production and move["action"] != "rollback"]
    return anchor_of(history) or (None if moves and moves[-1].get("forced") else production)


def _against_best(registry: Registry, release: Release, anchor: str, progress: Progress) -> Comparison:
    rival = _sound(registry, anchor, release)
    if rival is not None:
        return compare_releases(release, rival, role=BEST, progress=progress)
    if anchor == release.id:
        return Comparison({})
    figures = {"against": anchor, "comparable": False, "reason": "it is missing or damaged"}
    return Comparison(figures, comparable_later=False)
