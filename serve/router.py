"""The ingress: HTTP in front of an `Office`."""

import asyncio
from typing import Any

import ray.serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from serve.api import make_api
from serve.cross_site import LocalHosts
from serve.front import Front
from serve.limits import BodyCap
from serve.log_files import close_logs
from serve.office import Office
from serve.ports import keep_replica_to_its_node
from serve.settings import ServeSettings


@ray.serve.deployment(name="Router")
@ray.serve.ingress()
class Router:
    """HTTP in front of `Office`; ready once a release serves, or none can."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, general: DeploymentHandle[Any], specific: DeploymentHandle[Any], settings: dict[str, Any]
    ) -> None:
        found = ServeSettings.model_validate(settings)
        keep_replica_to_its_node()
        self.office = Office(general, specific, found)
        await self.office.watcher.look()
        self._watching = asyncio.get_running_loop().create_task(self.office.watcher.watch())

    def __del__(self) -> None:
        """Ray calls this when a replica ends in good order."""
        if office := getattr(self, "office", None):
            office.ledger.close()
        close_logs()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return http_service(self.office, say_id=False)


def http_service(office: Office, *, say_id: bool = True) -> ASGIApp:
    """Everything that answers HTTP, from the outside in; ``say_id`` as in `Front`."""
    settings, limits = office.settings, office.settings.limits
    app: ASGIApp = BodyCap(make_api(office), limits.body_bytes)
    if not settings.keys:
        app = LocalHosts(app, settings.allowed_hosts)
    return Front(
        app,
        office.observer,
        most=settings.requests_under_way,
        timeout_s=limits.timeout_s,
        say_id=say_id,
    )
