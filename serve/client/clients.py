"""The synchronous and the asynchronous client, which share all but sending and waiting."""

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
from serve.client.failures import BadResponse, Unavailable, error_of
from serve.client.retry import RetryLoop, RetryPolicy

P = ParamSpec("P")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""Hosts that are reached without the proxy of the environment."""


class _BaseClient:
    """The server's address, the API key and the retry policy.

    Parameters
    ----------
    url : address of the server, without ``/api``
    key : API key; default ``$NSECAST_KEY``
    retry : deadline, timeouts and retries of one call

    Raises
    ------
    ConfigError
        If ``url`` is not a valid HTTP address.
    """

    _open: Any
    """Class of the httpx client."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.url, self.retry = url.rstrip("/"), retry or RetryPolicy()
        try:
            parsed = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"url: {url!r:.200} is not a valid address: {error}.") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigError(f"url: got {url!r:.200}, need one such as http://127.0.0.1:8000.")
        key = key if key is not None else os.environ.get("NSECAST_KEY")
        self._http = self._open(
            base_url=self.url,
            headers={"User-Agent": "nsecast-client"} | ({"X-API-Key": key} if key else {}),
            # httpx refuses a SOCKS proxy of the environment even where `mounts` leaves it out.
            trust_env=parsed.scheme == "https" or parsed.host not in ("127.0.0.1", "localhost", "::1"),
            mounts=dict.fromkeys((f"all://{host}" for host in LOOPBACK), None),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _request(self, call: Call[Any], attempts: RetryLoop) -> dict[str, Any]:
        """Return the arguments of httpx for one attempt."""
        headers = {"Content-Type": "application/json"} if call.body is not None else {}
        return {
            "method": call.method,
            "url": call.path,
            "params": call.params,
            "content": call.body,
            "headers": headers,
            "timeout": min(self.retry.timeout_s, attempts.left_s),
        }

    def _parse(self, call: Call[Answer], response: httpx.Response, body: bytes) -> Answer:
        """Parse the response; raises the error that it reports."""
        where = f"{self.url}{call.path}"
        if response.status_code >= 300:
            raise error_of(response.status_code, response.headers, body, where)
        if issubclass(call.answer, str):
            return call.answer(body.decode())
        try:
            return call.answer.model_validate_json(body)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "body"
            raise BadResponse(
                f"{where}: not a {call.answer.__name__}: {field}: {first['msg']}. Is it an nsecast server of "
                "this version?",
                status=response.status_code,
            ) from None

    def _unreachable(self, error: Exception) -> Unavailable:
        reason = str(error) or type(error).__name__
        return Unavailable(f"{self.url}: {reason}. Is the server running? `nsecast serve` starts one.")

    def _timeout(self) -> Unavailable:
        return Unavailable(f"{self.url}: no complete response within {self.retry.deadline_s:g} s.")


def _sync_method(describe: Callable[P, Call[Answer]]) -> Callable[Concatenate["Client", P], Answer]:
    """Make a method of `Client` from a call."""

    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return self._send(describe(*args, **kwargs))

    _name(method, describe)
    return method


def _async_method(
    describe: Callable[P, Call[Answer]],
) -> Callable[Concatenate["AsyncClient", P], Awaitable[Answer]]:
    """Make a method of `AsyncClient` from a call."""

    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return await self._send(describe(*args, **kwargs))

    _name(method, describe)
    return method


def _name(method: Any, describe: Callable[..., Any]) -> None:
    """Give a method the name, docstring and signature of its call."""
    signature = inspect.signature(describe)
    (answer,) = get_args(signature.return_annotation)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    functools.update_wrapper(method, describe)
    method.__signature__ = signature.replace(
        parameters=[itself, *signature.parameters.values()], return_annotation=answer
    )


class Client(_BaseClient):
    """A blocking client, also a context manager; thread-safe."""

    _http: httpx.Client
    _open = httpx.Client

    predict = _sync_method(calls.predict)
    predict_batch = _sync_method(calls.predict_batch)
    predict_sector = _sync_method(calls.predict_sector)
    predict_all = _sync_method(calls.predict_all)
    outlook = _sync_method(calls.outlook)
    models = _sync_method(calls.models)
    model = _sync_method(calls.model)
    matrix = _sync_method(calls.matrix)
    history = _sync_method(calls.history)
    market = _sync_method(calls.market)
    insights = _sync_method(calls.insights)
    card = _sync_method(calls.card)
    prices = _sync_method(calls.prices)
    releases = _sync_method(calls.releases)
    live = _sync_method(calls.live)
    health = _sync_method(calls.health)
    stats = _sync_method(calls.stats)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, call: Call[Answer]) -> Answer:
        attempts = RetryLoop(self.retry)
        while True:
            try:
                return self._attempt(call, attempts)
            except NsecastError as error:
                wait = attempts.wait_s(error)
            time.sleep(wait)

    def _attempt(self, call: Call[Answer], attempts: RetryLoop) -> Answer:
        body = bytearray()
        try:
            with self._http.stream(**self._request(call, attempts)) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if attempts.over:
                        raise self._timeout()
        except httpx.HTTPError as error:
            raise self._timeout() if attempts.over else self._unreachable(error) from None
        return self._parse(call, response, bytes(body))


class AsyncClient(_BaseClient):
    """A client for asyncio, also an asynchronous context manager."""

    _http: httpx.AsyncClient
    _open = httpx.AsyncClient

    predict = _async_method(calls.predict)
    predict_batch = _async_method(calls.predict_batch)
    predict_sector = _async_method(calls.predict_sector)
    predict_all = _async_method(calls.predict_all)
    outlook = _async_method(calls.outlook)
    models = _async_method(calls.models)
    model = _async_method(calls.model)
    matrix = _async_method(calls.matrix)
    history = _async_method(calls.history)
    market = _async_method(calls.market)
    insights = _async_method(calls.insights)
    card = _async_method(calls.card)
    prices = _async_method(calls.prices)
    releases = _async_method(calls.releases)
    live = _async_method(calls.live)
    health = _async_method(calls.health)
    stats = _async_method(calls.stats)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _send(self, call: Call[Answer]) -> Answer:
        attempts = RetryLoop(self.retry)
        while True:
            try:
                return await self._attempt(call, attempts)
            except NsecastError as error:
                wait = attempts.wait_s(error)
            await asyncio.sleep(wait)

    async def _attempt(self, call: Call[Answer], attempts: RetryLoop) -> Answer:
        try:
            async with asyncio.timeout(attempts.left_s):
                response = await self._http.request(**self._request(call, attempts))
        except TimeoutError:
            raise self._timeout() from None
        except httpx.HTTPError as error:
            raise self._timeout() if attempts.over else self._unreachable(error) from None
        return self._parse(call, response, response.content)
