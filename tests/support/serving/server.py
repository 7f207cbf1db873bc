"""Servers on a loopback port, an application without a server, and a server that follows a script."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import ray.serve
import uvicorn

from serve.deployments.model_server import GeneralModel, SpecificModel
from serve.deployments.router import http_service
from serve.model_client.client import ModelClient
from serve.settings import ServeSettings


@contextlib.contextmanager
def listening(app: Any) -> Iterator[str]:
    """Serve an ASGI application from a thread of this process; yields the address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


def local_tiers(home: Path) -> list[Any]:
    """Handles of the two model deployments over a storage root, run in this process without a Ray cluster."""
    return [
        ray.serve.run(tier.bind(str(home), 4), name=tier.name, _local_testing_mode=True)
        for tier in (GeneralModel, SpecificModel)
    ]


@contextlib.contextmanager
def serving(home: Path, **settings: Any) -> Iterator[str]:
    """Serve the release in production from this process without a Ray cluster; yields the address."""
    model_client = ModelClient(
        *local_tiers(home), ServeSettings(home=str(home), access_log="off", **settings)
    )
    asyncio.run(model_client.watcher.check())
    try:
        with listening(http_service(model_client)) as url:
            yield url
    finally:
        model_client.ledger.close()


@dataclass
class ScriptedServer:
    """The next answers of a scripted server, and the requests it got."""

    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    """Status, headers and body; the last one repeats. Status 0: hang up, -1: send five bytes a second."""
    requests: list[tuple[float, str, dict[str, str], bytes]] = field(default_factory=list)
    """Time, path, headers and body of each request."""
    url: str = ""

    @property
    def times(self) -> list[float]:
        return [when for when, *_ in self.requests]


@contextlib.contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """A server that answers by a script."""
    script = ScriptedServer()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.requests.append((time.monotonic(), self.path, headers, body))
            status, sent, content = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            if status == 0:
                self.close_connection = True
                return
            self.send_response(max(status, 200))
            for name, value in sent.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):
                for place in range(len(content)) if status < 0 else ():
                    self.wfile.write(content[place : place + 1])
                    time.sleep(0.2)
                if status > 0:
                    self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


ADMIN = {"/api/v4/refresh", "/api/v4/cache/clear", "/api/v4/prices"}
"""Routes that change the server and require an admin key."""


class Client:
    """Sends requests to ``app``; an exception becomes an answer of status 500."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def request(self, method: str, path: str, **content: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **content)

        return asyncio.run(send())

    def get(self, path: str, **content: Any) -> httpx.Response:
        return self.request("GET", path, **content)

    def post(self, path: str, **content: Any) -> httpx.Response:
        return self.request("POST", path, **content)


@asynccontextmanager
async def client_of(model_client: ModelClient) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(http_service(model_client), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def model_client_of(home: Path, **settings: Any) -> ModelClient:
    return ModelClient(*local_tiers(home), ServeSettings(home=str(home), access_log="off", **settings))


def run_scenario(home: Path, scenario: Any, **settings: Any) -> Any:
    """Run a scenario (model client, HTTP client) once a release serves."""

    async def run() -> Any:
        model_client = model_client_of(home, **settings)
        await model_client.watcher.check()
        async with client_of(model_client) as client:
            return await scenario(model_client, client)

    return asyncio.run(run())
