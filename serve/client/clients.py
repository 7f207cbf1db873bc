"""The synchronous and the asynchronous client, which share all but sending and waiting."""

import asyncio
import functools
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, ParamSpec, Self, get_args, overload

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


class _Method(Generic[P, Answer]):
    """A method of both clients, which sends a request of `serve.client.calls` and returns its answer."""

    def __init__(self, describe: Callable[P, Call[Answer]]) -> None:
        self._describe, signature = describe, inspect.signature(describe)
        (answer,) = get_args(signature.return_annotation)
        self._signature = signature.replace(return_annotation=answer)

    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, Answer]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, Awaitable[Answer]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[Answer]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self._describe

        @functools.wraps(self._describe)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client._send(self._describe(*args, **kwargs))

        method.__signature__ = self._signature  # type: ignore[attr-defined]
        return method


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

    predict = _Method(calls.predict)
    predict_batch = _Method(calls.predict_batch)
    predict_sector = _Method(calls.predict_sector)
    predict_all = _Method(calls.predict_all)
    outlook = _Method(calls.outlook)
    models = _Method(calls.models)
    model = _Method(calls.model)
    matrix = _Method(calls.matrix)
    history = _Method(calls.history)
    market = _Method(calls.market)
    insights = _Method(calls.insights)
    card = _Method(calls.card)
    prices = _Method(calls.prices)
    releases = _Method(calls.releases)
    live = _Method(calls.live)
    health = _Method(calls.health)
    stats = _Method(calls.stats)

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


class Client(_BaseClient):
    """A blocking client, also a context manager; thread-safe."""

    _http: httpx.Client
    _open = httpx.Client

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
