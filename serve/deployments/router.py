"""The ingress deployment: HTTP in front of a `ModelClient`."""

import asyncio
import logging
from typing import Any

import ray.serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Receive, Scope, Send

from common.errors import NsecastError
from serve.deployments.health import RouterHealth
from serve.ingress.app import make_api
from serve.ingress.middleware import BodyCap, LocalHosts, RequestGuard
from serve.launch.private import keep_replica_to_its_node
from serve.model_client.client import ModelClient
from serve.observability.log_files import close_logs
from serve.settings import ServeSettings

log = logging.getLogger(__name__)


@ray.serve.deployment(name="Router")
@ray.serve.ingress()
class Router:
    """HTTP in front of `ModelClient`; ready once a release serves, or once none can be loaded."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, general: DeploymentHandle[Any], specific: DeploymentHandle[Any], settings: dict[str, Any]
    ) -> None:
        self._args = ServeSettings.model_validate(settings)
        keep_replica_to_its_node()
        self.model_client = ModelClient(general, specific, self._args)
        await self.model_client.watcher.check()
        self._watching = asyncio.get_running_loop().create_task(self.model_client.watcher.watch())
        self._health = RouterHealth(self._args.unloadable_s)
        self._service = http_service(self.model_client, send_id=False)

    def __del__(self) -> None:
        """Write the buffered logs; Ray calls this when a replica shuts down in good order."""
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
        """Apply new limits (`ServeSettings.changed`) without a restart; the others are as in `args`.

        Requests under way keep their limits; the rate limits count from zero. An invalid ``user_config``
        changes nothing and is reported by ``/api/v4/health``. It is not raised, since Ray would then end this
        router and could not start the next one.
        """
        before = self.model_client.settings
        try:
            self.model_client.settings = self._args.changed(user_config)
            self._service = await asyncio.to_thread(http_service, self.model_client, send_id=False)
        except Exception as error:
            reason = error.message if isinstance(error, NsecastError) else f"{type(error).__name__}: {error}"
            log.error("limits not changed: %s", reason)
            self.model_client.settings = before
            self.model_client.config_problem = f"the limits were not changed: {reason}"
            return
        self.model_client.config_problem = None
        log.warning("limits changed: %s", ", ".join(sorted(user_config)) or "as in args")


def http_service(model_client: ModelClient, *, send_id: bool = True) -> ASGIApp:
    """Build the application with its middleware; ``send_id`` as in `RequestGuard`."""
    settings, limits = model_client.settings, model_client.settings.limits
    app: ASGIApp = BodyCap(make_api(model_client), limits.body_bytes)
    if not settings.keys:
        app = LocalHosts(app, settings.allowed_hosts)
    return RequestGuard(
        app,
        model_client.observer,
        max_requests=settings.requests_under_way,
        timeout_s=limits.timeout_s,
        send_id=send_id,
    )
