"""The graph: ``serve run serve.app:build_app [home=DIR ...]``, or a YAML as in ``cluster/deploy``.

::

    HTTP -> Router -> GeneralModel            (fixed)
                   -> SpecificModel           (autoscaled pool, models by SYMBOL@release)
"""

from typing import Any

from ray.serve import Application, Deployment
from ray.serve.config import AutoscalingConfig, BackpressureConfig

from common.presets import SPECIFIC
from common.release.bundle import GENERAL
from serve.deployments.model_server import GeneralModel, SpecificModel
from serve.deployments.router import Router
from serve.ingress.rate_storage import check_rate_storage
from serve.settings import ServeSettings

GENERAL_LOADED = 3
"""Releases whose general model a replica keeps."""
LOOK_BACK_S = 10.5
"""Ray wants it to be more than the 10 s between two reports of load."""


def build_app(args: ServeSettings) -> Application:
    """The application with these settings; nothing is started yet.

    Raises
    ------
    ConfigError
        If the Redis server that is to count rates cannot be used.
    """
    args = args.resolved()
    check_rate_storage(args.limits.rate_storage)
    actor = {"num_cpus": args.cpus_each}
    refuse = BackpressureConfig(status_code=503, retry_after_s=1)
    common: dict[str, Any] = {
        "max_ongoing_requests": args.questions_at_once,
        "max_queued_requests": args.questions_queued,
        "backpressure_config": refuse,
        "ray_actor_options": actor,
        "health_check_period_s": 10,
        "graceful_shutdown_timeout_s": 10,
        "max_constructor_retry_count": args.constructor_attempts,
    }
    every = (GeneralModel, SpecificModel, Router)
    general_model, specific_models, router = map(_deployment, every)
    general = general_model.options(
        num_replicas=args.general_replicas, **_at_most(args.general_per_node), **common
    ).bind(args.home, GENERAL_LOADED, tier=GENERAL, log_to=args.access_log)
    specific = specific_models.options(
        autoscaling_config=AutoscalingConfig(
            min_replicas=args.specific_min,
            max_replicas=args.specific_max,
            target_ongoing_requests=args.target_ongoing,
            upscale_delay_s=args.upscale_delay_s,
            downscale_delay_s=args.downscale_delay_s,
            look_back_period_s=max(LOOK_BACK_S, args.upscale_delay_s),
        ),
        **common,
    ).bind(args.home, args.models_loaded, tier=SPECIFIC, log_to=args.access_log)
    return router.options(
        num_replicas=args.routers,
        max_ongoing_requests=args.requests_under_way + 64,
        max_queued_requests=args.requests_under_way,
        backpressure_config=refuse,
        ray_actor_options=actor,
        health_check_period_s=10,
        graceful_shutdown_timeout_s=15,
        max_constructor_retry_count=args.constructor_attempts,
        **_at_most(args.routers_per_node),
    ).bind(general, specific, args.model_dump(mode="json"))


def _at_most(per_node: int | None) -> dict[str, Any]:
    """Options that bound the replicas on one Ray node; none without a bound."""
    return {} if per_node is None else {"max_replicas_per_node": per_node}


def _deployment(decorated: object) -> Deployment:
    """What ``ray.serve.deployment`` made of a class; type checkers still take it for the class."""
    assert isinstance(decorated, Deployment)
    return decorated
