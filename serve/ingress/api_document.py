"""Write the page about the HTTP API: ``python -m serve.ingress.api_document``; a test compares it."""

from types import SimpleNamespace
from typing import Any, cast

from serve.ingress.api_reference import reference
from serve.ingress.app import make_api
from serve.model_client.client import ModelClient
from serve.settings import ServeSettings


def description() -> dict[str, Any]:
    """The OpenAPI description of the service; no route is called, so settings are all that it takes."""
    return make_api(cast(ModelClient, SimpleNamespace(settings=ServeSettings(home="/"), keys=None))).openapi()


if __name__ == "__main__":
    print(reference(description()), end="")
