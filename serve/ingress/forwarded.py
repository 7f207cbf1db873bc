"""Whose request it is, where proxies stand between the client and the server."""

import ipaddress
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import Scope

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LONGEST = 64
"""Characters that are kept of an address that is none."""


def client_address(scope: Scope, *, behind_haproxy: bool, trusted: Sequence[Network]) -> str:
    """Address of the client that sent a request.

    Each proxy appends the address that it was called from to ``X-Forwarded-For``. Only the entries of trusted
    proxies are believed, from the last one backwards; what stands before them came from the client and may be
    forged.

    Parameters
    ----------
    behind_haproxy : the connection comes from the server's own HAProxy, which appends its client's address
    trusted : networks of further proxies in front
    """
    client = scope.get("client")
    peer = str(client[0]) if client else "?"
    given = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
    chain = [*(entry.strip()[:LONGEST] for entry in given if entry.strip()), peer]
    if behind_haproxy and len(chain) > 1:
        chain.pop()
    while len(chain) > 1 and _is_in(chain[-1], trusted):
        chain.pop()
    return chain[-1]


def _is_in(address: str, networks: Sequence[Network]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in networks)
