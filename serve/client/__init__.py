"""Asking a server from Python: `Client`, and `AsyncClient` with the same methods to await.

::

    from serve.client import Client

    with Client("http://127.0.0.1:8000") as client:
        print(client.predict("SCOM", "5d").prediction)

The ``request_id`` of an answer, and of an error's context, is made by the server; `nsecast receipt` takes it.
"""

from serve.client.clients import AsyncClient, Client
from serve.client.failures import BadResponse, Unavailable
from serve.client.tries import RetryPolicy

__all__ = ["AsyncClient", "BadResponse", "Client", "RetryPolicy", "Unavailable"]
