"""The gate to production: the checklist, and the comparison with the release in production."""

import logging
from dataclasses import dataclass
from typing import Any

from common.errors import BundleError, GateClosed, ReleaseNotFound
from common.release.manifest import Release
from common.release.registry import Registry
from common.release.subject import Check
from train.gate.checklist import run_checklist
from train.gate.comparison import Comparison, compare_releases
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

    @property
    def evidence(self) -> dict[str, Any]:
        """The part that the production alias' history keeps."""
        checks = f"{sum(check.passed for check in self.checks)} of {len(self.checks)}"
        return {"gate": {"checks": checks, "comparison": self.comparison}}


def judge(registry: Registry, reference: str) -> Verdict:
    """Run the checklist, and compare a release with the one in production, which does not change.

    A damaged or missing release in production is not compared.

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
    comparison, production = Comparison({}), registry.production()
    rival = None if production == release.id else production
    if rival and checks[0].passed and is_sound(registry, rival):
        comparison = compare_releases(release, registry.resolve(rival))
    reasons += comparison.reasons
    return Verdict(not reasons, tuple(checks), comparison.figures or None, tuple(reasons))


def promote_through_gate(
    registry: Registry, reference: str, *, force: bool = False
) -> tuple[Release, Verdict]:
    """Put a release in production if it passes the gate.

    Its entry in `Registry.history` contains the evidence: ``gate``, with the checks passed and the
    comparison; and, if ``force`` overruled the gate, ``forced`` and the ``reasons``.

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
    verdict = judge(registry, release.id)
    if not verdict.passed and not force:
        raise GateClosed(
            f"release {release.id} does not go to production: {'; '.join(verdict.reasons)}. In production is "
            f"still {registry.production() or 'nothing'}. Train a better release, or use --force to promote "
            "it anyway; that is recorded.",
            release=release.id,
            reasons=list(verdict.reasons),
            comparison=verdict.comparison,
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
