"""Write the page about the HTTP API: ``python -m serve.api_document``; a test compares it with the code."""

from types import SimpleNamespace
from typing import Any, cast

from serve.api import make_api
from serve.api_reference import reference
from serve.office import Office
from serve.settings import ServeSettings


def description() -> dict[str, Any]:
    """The OpenAPI description of the service; no route is called, so settings are all that it takes."""
    return make_api(cast(Office, SimpleNamespace(settings=ServeSettings(home="/"), keys=None))).openapi()


if __name__ == "__main__":
    print(reference(description()), end="")
