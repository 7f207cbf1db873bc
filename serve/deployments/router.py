"""The ingress: HTTP in front of an `ModelClient`."""

import asyncio
import logging
from typing import Any

import ray.serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Receive, Scope, Send

from common.errors import NsecastError
from serve.deployments.health import RouterHealth
from serve.ingress.app import make_api
from serve.ingress.cross_site import LocalHosts
from serve.ingress.middleware import RequestGuard
from serve.ingress.rate_limit import BodyCap
from serve.launch.private import keep_replica_to_its_node
from serve.model_client.client import ModelClient
from serve.observability.log_files import close_logs
from serve.settings import ServeSettings

log = logging.getLogger(__name__)


@ray.serve.deployment(name="Router")
@ray.serve.ingress()
class Router:
    """HTTP in front of `ModelClient`; ready once a release serves, or none can."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, general: DeploymentHandle[Any], specific: DeploymentHandle[Any], settings: dict[str, Any]
    ) -> None:
        found = ServeSettings.model_validate(settings)
        keep_replica_to_its_node()
        self.model_client = ModelClient(general, specific, found)
        await self.model_client.watcher.look()
        self._watching = asyncio.get_running_loop().create_task(self.model_client.watcher.watch())
        self._args, self._health = found, RouterHealth(found.unloadable_s)
        self._service = http_service(self.model_client, say_id=False)

    def __del__(self) -> None:
        """Ray calls this when a replica ends in good order."""
        if model_client := getattr(self, "model_client", None):
            model_client.ledger.close()
        close_logs()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        async def service(scope: Scope, receive: Receive, send: Send) -> None:
            await self._service(scope, receive, send)

        return service  # a plain function: uvicorn takes a bound method for an application of ASGI 2

    async def check_health(self) -> None:
        """Raise Unhealthy if this router cannot follow production, see `RouterHealth`."""
        self._health.check(self.model_client.watcher, self._watching)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take new limits (`ServeSettings.changed`) without a restart; what it leaves out is as in `args`.

        Requests under way keep the limits they began with; counts of the rate limits begin anew. A
        ``user_config`` that is not allowed changes nothing and is reported by ``/api/v4/health``: if it were
        raised, Ray would end this router, and the next one would not start.
        """
        before = self.model_client.settings
        try:
            self.model_client.settings = self._args.changed(user_config)
            self._service = await asyncio.to_thread(http_service, self.model_client, say_id=False)
        except Exception as error:
            reason = error.message if isinstance(error, NsecastError) else f"{type(error).__name__}: {error}"
            log.error("the limits stay as they are: %s", reason)
            self.model_client.settings = before
            self.model_client.config_problem = f"the limits were not changed: {reason}"
            return
        self.model_client.config_problem = None
        log.warning("limits changed: %s", ", ".join(sorted(user_config)) or "as in args")


def http_service(model_client: ModelClient, *, say_id: bool = True) -> ASGIApp:
    """Everything that answers HTTP, from the outside in; ``say_id`` as in `Front`."""
    settings, limits = model_client.settings, model_client.settings.limits
    app: ASGIApp = BodyCap(make_api(model_client), limits.body_bytes)
    if not settings.keys:
        app = LocalHosts(app, settings.allowed_hosts)
    return RequestGuard(
        app,
        model_client.observer,
        most=settings.requests_under_way,
        timeout_s=limits.timeout_s,
        say_id=say_id,
    )
