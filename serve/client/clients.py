"""The two clients: everything but sending and waiting is shared."""

import asyncio
import functools
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, Self, get_args

import httpx
import pydantic

from common.errors import ConfigError, NsecastError
from serve.client import calls
from serve.client.calls import Answer, Call
from serve.client.failures import BadResponse, Unavailable, failure
from serve.client.tries import RetryLoop, RetryPolicy

P = ParamSpec("P")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""Reached directly, whatever proxy the environment names."""


class _Base:
    """A server's address, the key for it, and how long to keep at it.

    Parameters
    ----------
    url : where the server is, without ``/api``
    key : API key; default ``$NSECAST_KEY``, if it is set
    patience : deadline, timeouts and tries of one call

    Raises
    ------
    ConfigError
        If ``url`` is no address.
    """

    _open: Any
    """The kind of client of httpx."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        patience: RetryPolicy | None = None,
    ) -> None:
        self.url, self.patience = url.rstrip("/"), patience or RetryPolicy()
        try:
            parsed = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"url: {url!r:.200} is no address: {error}.") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigError(f"url: got {url!r:.200}, need one such as http://127.0.0.1:8000.")
        key = key if key is not None else os.environ.get("NSECAST_KEY")
        self._http = self._open(
            base_url=self.url,
            headers={"User-Agent": "nsecast-client"} | ({"X-API-Key": key} if key else {}),
            mounts=dict.fromkeys((f"all://{host}" for host in LOOPBACK), None),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _request(self, call: Call[Any], tries: RetryLoop) -> dict[str, Any]:
        """One try as httpx takes it."""
        headers = {"Content-Type": "application/json"} if call.body is not None else {}
        return {
            "method": call.method,
            "url": call.path,
            "params": call.params,
            "content": call.body,
            "headers": headers,
            "timeout": min(self.patience.timeout_s, tries.left_s),
        }

    def _answer(self, call: Call[Answer], response: httpx.Response, body: bytes) -> Answer:
        """What was asked for; raises the error that was answered instead."""
        where = f"{self.url}{call.path}"
        if response.status_code >= 300:
            raise failure(response.status_code, response.headers, body, where)
        try:
            return call.answer.model_validate_json(body)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "body"
            raise BadResponse(
                f"{where}: not a {call.answer.__name__}: {place}: {first['msg']}. Is it an nsecast server of "
                "this version?",
                status=response.status_code,
            ) from None

    def _unreachable(self, error: Exception) -> Unavailable:
        reason = str(error) or type(error).__name__
        return Unavailable(f"{self.url}: {reason}. Is the server there? `nsecast serve` starts one.")

    def _too_late(self) -> Unavailable:
        return Unavailable(f"{self.url}: no whole answer within {self.patience.deadline_s:g} s.")


def _now(describe: Callable[P, Call[Answer]]) -> Callable[Concatenate["Client", P], Answer]:
    """The method of `Client` that makes a call."""

    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return self._send(describe(*args, **kwargs))

    _name(method, describe)
    return method


def _later(
    describe: Callable[P, Call[Answer]],
) -> Callable[Concatenate["AsyncClient", P], Awaitable[Answer]]:
    """The method of `AsyncClient` that makes a call."""

    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return await self._send(describe(*args, **kwargs))

    _name(method, describe)
    return method


def _name(method: Any, describe: Callable[..., Any]) -> None:
    """Give a method the name, the words and the signature of the call it makes."""
    described = inspect.signature(describe)
    (answer,) = get_args(described.return_annotation)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    functools.update_wrapper(method, describe)
    method.__signature__ = described.replace(
        parameters=[itself, *described.parameters.values()], return_annotation=answer
    )


class Client(_Base):
    """A server, asked and waited for; also a context manager. Safe to use from many threads."""

    _http: httpx.Client
    _open = httpx.Client

    predict = _now(calls.predict)
    predict_batch = _now(calls.predict_batch)
    predict_sector = _now(calls.predict_sector)
    predict_all = _now(calls.predict_all)
    outlook = _now(calls.outlook)
    models = _now(calls.models)
    model = _now(calls.model)
    matrix = _now(calls.matrix)
    history = _now(calls.history)
    market = _now(calls.market)
    insights = _now(calls.insights)
    releases = _now(calls.releases)
    live = _now(calls.live)
    health = _now(calls.health)
    stats = _now(calls.stats)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, call: Call[Answer]) -> Answer:
        tries = RetryLoop(self.patience)
        while True:
            try:
                return self._try(call, tries)
            except NsecastError as error:
                wait = tries.wait_s(error)
            time.sleep(wait)

    def _try(self, call: Call[Answer], tries: RetryLoop) -> Answer:
        body = bytearray()
        try:
            with self._http.stream(**self._request(call, tries)) as response:
                for piece in response.iter_bytes():
                    body += piece
                    if tries.over:
                        raise self._too_late()
        except httpx.HTTPError as error:
            raise self._too_late() if tries.over else self._unreachable(error) from None
        return self._answer(call, response, bytes(body))


class AsyncClient(_Base):
    """The same to await, for asyncio; also an asynchronous context manager."""

    _http: httpx.AsyncClient
    _open = httpx.AsyncClient

    predict = _later(calls.predict)
    predict_batch = _later(calls.predict_batch)
    predict_sector = _later(calls.predict_sector)
    predict_all = _later(calls.predict_all)
    outlook = _later(calls.outlook)
    models = _later(calls.models)
    model = _later(calls.model)
    matrix = _later(calls.matrix)
    history = _later(calls.history)
    market = _later(calls.market)
    insights = _later(calls.insights)
    releases = _later(calls.releases)
    live = _later(calls.live)
    health = _later(calls.health)
    stats = _later(calls.stats)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _send(self, call: Call[Answer]) -> Answer:
        tries = RetryLoop(self.patience)
        while True:
            try:
                return await self._try(call, tries)
            except NsecastError as error:
                wait = tries.wait_s(error)
            await asyncio.sleep(wait)

    async def _try(self, call: Call[Answer], tries: RetryLoop) -> Answer:
        try:
            async with asyncio.timeout(tries.left_s):
                response = await self._http.request(**self._request(call, tries))
        except TimeoutError:
            raise self._too_late() from None
        except httpx.HTTPError as error:
            raise self._too_late() if tries.over else self._unreachable(error) from None
        return self._answer(call, response, response.content)
