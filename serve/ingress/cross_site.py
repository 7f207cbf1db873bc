"""What a server without API keys refuses: foreign ``Host`` names, and requests from pages of other sites.

Without keys, whoever reaches the port may do everything. A browser on this machine reaches it for any page
that it shows, so a page of another site must not be able to send requests here (cross-site request forgery),
nor to point its own name at 127.0.0.1 and pass for this server (DNS rebinding). With keys none of this is
needed: no page can send a key that it does not have.
"""

import ipaddress
import re
from collections.abc import Collection, Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from common.errors import NsecastError
from serve.ingress.middleware import PROBES

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]{0,5})?")


class ForeignHost(NsecastError):
    """The request names a host that is not this machine."""

    http_status = 403


class CrossSite(NsecastError):
    """The request was sent by a page of another site."""

    http_status = 403


class LocalHosts:
    """ASGI middleware: only requests whose ``Host`` is a name of this machine pass; probes always do.

    Parameters
    ----------
    also : more names that are accepted, without port; such as the one of a reverse proxy on this machine

    Raises
    ------
    ForeignHost
        For every other ``Host``, for none, and for more than one.
    """

    def __init__(self, app: ASGIApp, also: Iterable[str] = ()) -> None:
        self.app, self._also = app, frozenset(name.lower() for name in also)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PROBES:
            hosts = Headers(scope=scope).getlist("host")
            if len(hosts) != 1 or not self._accepts(hosts[0]):
                got = ascii(", ".join(hosts)[:80]) if hosts else "none"
                raise ForeignHost(
                    f"Host: got {got}, need localhost, 127.0.0.1 or [::1]: a server without API keys answers "
                    "to names of its own machine only. Use http://localhost with its port, add the name to "
                    "the setting `allowed_hosts`, or turn on keys: `nsecast serve keys --add NAME`, then "
                    "`nsecast serve --keys FILE`."
                )
        await self.app(scope, receive, send)

    def _accepts(self, host: str) -> bool:
        name = _name(host)
        return name is not None and (is_local_name(name) or name in self._also)


def is_local_name(name: str) -> bool:
    """Whether a host name, or an address, always means the machine of whoever uses it."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def refuse_cross_site(headers: Headers, method: str, origins: Collection[str], *, admin: bool) -> None:
    """Refuse a request that a page of another site sent.

    Browsers say where a request comes from, in ``Origin`` and ``Sec-Fetch-Site``, and pages cannot change
    that. Clients that are no browsers send neither and pass. A link from elsewhere to a page or an answer of
    this server may be followed.

    Parameters
    ----------
    origins : other origins whose pages may send requests, as configured; ``*``: all, but not what needs admin
        rights
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


def _name(host: str) -> str | None:
    """The name in a ``Host`` header, in lower case, without port, brackets or last dot; None if malformed."""
    parts = _HOST.fullmatch(host)
    return parts[1].strip("[]").removesuffix(".").lower() if parts else None
