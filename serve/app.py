"""The graph: ``serve run serve.app:build_app [home=DIR ...]``, or YAML as in ``cluster/deploy``.

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
from serve.settings import ServeSettings

GENERAL_LOADED = 3
"""Releases whose general model a replica keeps loaded."""
LOOK_BACK_S = 10.5
"""Ray requires more than the 10 s between two reports of load."""


def build_app(args: ServeSettings) -> Application:
    """Build the application, without starting it."""
    args = args.resolved()
    common: dict[str, Any] = {
        "max_ongoing_requests": args.questions_at_once,
        "max_queued_requests": args.questions_queued,
        "backpressure_config": BackpressureConfig(status_code=503, retry_after_s=1),
        "ray_actor_options": {"num_cpus": args.cpus_each},
        "health_check_period_s": 10,
        "graceful_shutdown_timeout_s": 10,
        "max_constructor_retry_count": args.constructor_attempts,
    }
    general_model, specific_models, router = map(_deployment, (GeneralModel, SpecificModel, Router))
    general = general_model.options(
        num_replicas=args.general_replicas, **common | {"max_replicas_per_node": args.general_per_node}
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
    changes = {
        "max_ongoing_requests": args.requests_under_way + 64,
        "max_queued_requests": args.requests_under_way,
        "graceful_shutdown_timeout_s": 15,
        "max_replicas_per_node": args.routers_per_node,
    }
    return router.options(num_replicas=args.routers, **common | changes).bind(
        general, specific, args.model_dump(mode="json")
    )


def _deployment(decorated: object) -> Deployment:
    """Correct the type of a class decorated with ``ray.serve.deployment``."""
    assert isinstance(decorated, Deployment)
    return decorated
