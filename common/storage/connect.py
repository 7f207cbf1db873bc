"""How an object store is reached: its address and credentials come from the environment."""

import os
from datetime import timedelta
from typing import Any

import obstore.store

from common.errors import ConfigError

PATIENCE_S = 30.0
"""How long a store that fails or is silent is asked again; ``NSECAST_STORE_TIMEOUT_S`` changes it."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Variables with the address of a store that is not Amazon's."""


def connect(url: str) -> Any:
    """The store that ``url`` and the environment name; nothing is asked of it yet."""
    patience = timedelta(seconds=_patience_s())
    plain = any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS)
    try:
        return obstore.store.from_url(
            url,
            client_options={
                **({"allow_http": True} if plain else {}),
                "connect_timeout": min(patience, timedelta(seconds=5)),
                "read_timeout": patience,
                "timeout": timedelta(minutes=10),
            },
            retry_config={
                "max_retries": 10,
                "retry_timeout": patience,
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=5),
                    "base": 2,
                },
            },
        )
    except Exception as error:
        raise ConfigError(f"{url}: cannot be used as an object store: {str(error)[:200]}.") from None


def _patience_s() -> float:
    text = os.environ.get("NSECAST_STORE_TIMEOUT_S") or str(PATIENCE_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise ConfigError(f"NSECAST_STORE_TIMEOUT_S: got {text!r}, need seconds, such as 30.")
    return seconds
