"""The client of a request, by its API key or else its address, and the limit on its forecasts.

A server without keys answers everyone who reaches it, and a browser on this machine reaches it for any page
that it shows. So pages of other sites must not send requests here (cross-site request forgery), nor point
their own host name at 127.0.0.1 (DNS rebinding, see `serve.ingress.middleware.LocalHosts`). With keys neither
check is needed, since such a page does not have a key.
"""

import ipaddress
import time
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any

import limits
import starlette.types
from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers

from common.errors import BadRequest, NsecastError, TooManyRequests
from serve.auth.keys import Client, KeyFile, Scope
from serve.ingress.middleware import is_local_name
from serve.settings import ServeSettings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ADDRESS_CHARACTERS = 64
"""Length to which a malformed address is cut."""


class CrossSite(NsecastError):
    """The request was sent by a page of another site."""

    http_status = 403


def client_check(
    settings: ServeSettings, keys: KeyFile | None, scope: Scope
) -> Callable[[Request, str | None], Client]:
    """Return a function that returns the client of a request with an API key, or without one.

    It raises CrossSite, or as `KeyFile.check`.
    """

    def check(request: Request, key: str | None) -> Client:
        if keys is not None:
            client = keys.check(key, scope)
        else:
            refuse_cross_site(request.headers, request.method, settings.cors_origins, admin=scope == "admin")
            address = client_address(
                request.scope, behind_haproxy=settings.behind_haproxy, trusted=settings.trusted_proxies
            )
            client = Client(address, "", frozenset({"read", "admin"}))
        request.state.facts.client = client.id
        return client

    return check


def client_dependency(settings: ServeSettings, keys: KeyFile | None, scope: Scope) -> Callable[..., Any]:
    """Return a dependency that provides the client, see `client_check`."""
    check = client_check(settings, keys, scope)

    async def client(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))] = None,
        header: Annotated[str | None, Depends(APIKeyHeader(name="X-API-Key", auto_error=False))] = None,
    ) -> Client:
        return check(request, bearer.credentials if bearer else header)

    return client


def sent_key(request: Request) -> str | None:
    """Return the API key that a request sends, as the security schemes of `client_dependency` do."""
    scheme, credentials = get_authorization_scheme_param(request.headers.get("authorization"))
    is_bearer = scheme.lower() == "bearer" and credentials
    return credentials if is_bearer else request.headers.get("x-api-key") or None


def client_address(scope: starlette.types.Scope, *, behind_haproxy: bool, trusted: Sequence[Network]) -> str:
    """Return the address of the client that sent a request.

    Each proxy appends the address of its own client to ``X-Forwarded-For``. Only entries of trusted proxies
    are believed, from the last one backwards; the entries before them came from the client and may be forged.

    Parameters
    ----------
    behind_haproxy : the connection comes from the server's own HAProxy, which appends its client's address
    trusted : networks of further proxies in front
    """
    peer = scope.get("client")
    entries = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
    chain = [entry.strip()[:ADDRESS_CHARACTERS] for entry in entries if entry.strip()]
    chain.append(str(peer[0]) if peer else "?")
    if behind_haproxy and len(chain) > 1:
        chain.pop()
    while len(chain) > 1 and _is_in(chain[-1], trusted):
        chain.pop()
    return chain[-1]


def _is_in(text: str, networks: Sequence[Network]) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in networks)


def refuse_cross_site(headers: Headers, method: str, origins: Collection[str], *, admin: bool) -> None:
    """Refuse a request that a page of another site sent.

    Browsers state the origin of a request in ``Origin`` and ``Sec-Fetch-Site``, which pages cannot change.
    Other clients send neither header and pass. Links from other sites to pages of this server are allowed.

    Parameters
    ----------
    origins : origins whose pages may send requests; ``*`` allows all of them, except for admin requests
    admin : whether the request needs admin rights

    Raises
    ------
    CrossSite
        If the page's origin is neither this server nor among ``origins``.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if site in ("same-origin", "none") or (origin is None and site is None):
        return
    if origin is not None and origin.partition("://")[2].lower() == headers.get("host", "").lower():
        return
    if origin in origins or ("*" in origins and not admin):
        return
    link = origin is None and method == "GET" and headers.get("sec-fetch-mode") == "navigate"
    if link and not admin:
        return
    raise CrossSite(
        f"Origin: got {(origin or site or '')[:80]!a}, need the server's own page: without API keys, pages "
        "of other sites are refused. Send the request from a program or from the page at /, or start the "
        "server with `--cors ORIGIN` or with `--keys FILE`."
    )


class RateLimit:
    """A limit on the forecasts of each client per minute, in windows that begin with its first one.

    Each router counts on its own. A limit of 0 is none.

    Parameters
    ----------
    local : whether it holds for clients with a loopback address too
    """

    def __init__(self, forecasts_per_minute: int, *, local: bool = True) -> None:
        self._item = limits.RateLimitItemPerMinute(forecasts_per_minute or 1)
        self._off, self._local = forecasts_per_minute == 0, local
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def at_most(self, cost: int) -> int:
        """Bound the cost of a request for every stock by the limit of a minute."""
        return min(cost, self._item.amount)

    async def hit(self, client: str, cost: int = 1) -> None:
        """Count ``cost`` forecasts of a client.

        Raises
        ------
        TooManyRequests
            If the client exceeds its limit; ``retry_after_s`` in the context is the time to wait.
        BadRequest
            If the request alone exceeds the limit of a minute.
        """
        if self._off or (not self._local and is_local_name(client)):
            return
        if cost > self._item.amount:
            raise BadRequest(
                f"batch: {cost} forecasts in one request, at most {self._item.amount} a minute are allowed. "
                "Send smaller batches, a minute apart."
            )
        if not await self._limiter.hit(self._item, client, cost=cost):
            reset = (await self._limiter.get_window_stats(self._item, client)).reset_time
            wait = max(reset - time.time(), 0.001)
            raise TooManyRequests(
                f"more than {self._item.amount} forecasts a minute. Retry after {wait:.0f} s.",
                retry_after_s=wait,
            )
