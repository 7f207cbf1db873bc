"""Python client of a server: `Client`, and `AsyncClient` with the same methods to await.

::

    from serve.client import Client

    with Client("http://127.0.0.1:8000") as client:
        print(client.predict("SCOM", "5d").prediction)

Responses and the contexts of errors have the ``request_id`` that `nsecast receipt` takes.
"""

from serve.client.clients import AsyncClient, Client
from serve.client.failures import BadResponse, Unavailable
from serve.client.retry import RetryPolicy

__all__ = ["AsyncClient", "BadResponse", "Client", "RetryPolicy", "Unavailable"]
