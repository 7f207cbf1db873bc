"""Connect to an object store, whose address and credentials come from the environment."""

import os
from datetime import timedelta
from typing import Any

import obstore.store

from common.errors import ConfigError

TIMEOUT_S = 30.0
"""How long requests to a failing or silent store are repeated; set by ``NSECAST_STORE_TIMEOUT_S``."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Variables with the address of an S3 store outside AWS."""


def connect(url: str) -> Any:
    """Return a client for the store named by ``url`` and the environment, without contacting it."""
    timeout = timedelta(seconds=_timeout_s())
    plain = any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS)
    try:
        return obstore.store.from_url(
            url,
            client_options={
                **({"allow_http": True} if plain else {}),
                "connect_timeout": min(timeout, timedelta(seconds=5)),
                "read_timeout": timeout,
                "timeout": timedelta(minutes=10),
            },
            retry_config={"retry_timeout": timeout},
        )
    except Exception as error:
        raise ConfigError(f"{url}: cannot be used as an object store: {str(error)[:200]}.") from None


def _timeout_s() -> float:
    text = os.environ.get("NSECAST_STORE_TIMEOUT_S") or str(TIMEOUT_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise ConfigError(f"NSECAST_STORE_TIMEOUT_S: got {text!r}, need seconds, such as 30.")
    return seconds
