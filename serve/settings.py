"""Settings of a server: the arguments of ``serve.app:build_app``, in YAML or as ``name=value``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic
from annotated_types import Ge, Gt, Le
from pydantic import (
    IPvAnyNetwork,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from common import storage
from common.config import Config, read_file, read_toml
from common.errors import BadRequest, ConfigError
from serve.schemas.fields import MAX_BATCH

SHARED_RATE = 6_000
"""Default of ``forecasts_per_minute`` for a server that others can reach."""
LIVE = ("limits", "requests_under_way", "cors_origins")
"""Settings that a running router accepts in its ``user_config``, without a restart."""


class Limits(Config):
    """Limits of one server."""

    body_bytes: PositiveInt = 1_048_576
    """Maximum size of a request body; 5,000 bars are half of it."""
    batch_symbols: Annotated[PositiveInt, Le(MAX_BATCH)] = MAX_BATCH
    """Maximum number of symbols in one batch."""
    forecasts_per_minute: NonNegativeInt | None = None
    """For each API key (without keys: for each address), counted by each router alone; a batch counts its
    symbols; 0: no limit. Default: 6,000, and no limit for programs of its own machine if the server has no
    keys."""
    timeout_s: PositiveFloat = 10.0
    """Time limit of one request."""

    def check_batch(self, symbols: int) -> None:
        """Raise BadRequest for a batch above ``batch_symbols``."""
        if symbols > self.batch_symbols:
            raise BadRequest(
                f"batch: got {symbols} symbols, at most {self.batch_symbols} are allowed. Send several."
            )


class LedgerSettings(Config):
    """The logs of served forecasts."""

    days_kept: NonNegativeInt = 400
    """Days of served forecasts on disk; older ones are deleted. 0: none are written."""
    megabytes_kept: PositiveInt = 256
    """Bound on their size; the oldest days are deleted first."""
    answers_days_kept: NonNegativeInt = 30
    """The same for answers, and so for receipts; 0: neither answers nor prices of requests are written."""
    answers_megabytes_kept: PositiveInt = 256
    """The same for answers; 20 bytes each, 200 and more with prices of the request."""
    answers_client_share: Annotated[float, Gt(0), Le(1)] = 0.5
    """Share of it that one client (API key; without keys: address) can fill over all days, in each router.
    The default is 4 MB a day: 200,000 answers, or some 14,000 with closes. Beyond it, answers are not
    recorded."""
    flush_every_s: PositiveFloat = 30.0
    """Interval between writes: what a killed router can lose."""
    rows_buffered: PositiveInt = 20_000
    """Rows of each log in memory until they are written; further ones are lost, and counted."""
    megabytes_buffered: PositiveInt = 32
    """The same for the request ids and prices of these rows."""

    @property
    def answers_client_bytes(self) -> float:
        """A client's budget for a day, over all routers."""
        total = self.answers_megabytes_kept * 2**20
        return self.answers_client_share * total / max(self.answers_days_kept, 1)


class ServeSettings(Config):
    """The arguments of `build_app`."""

    home: str = ""
    """Storage root, the same on every node; default ``$NSECAST_HOME``, else ``./nsecast-data``."""
    keys: str | None = None
    """File of API keys, see ``serve.auth.keys``; without one, requests need no key."""
    loopback: bool = True
    """Only this machine can reach the server, so that keys may be off. The caller has to bind it accordingly:
    with HAProxy, Ray's default is all interfaces."""
    allowed_hosts: tuple[str, ...] = ()
    """``Host`` names, without port, that a server without keys accepts besides those of its machine."""
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages that may call the API."""
    behind_haproxy: bool = False
    """HAProxy is in front, and appends the address of its client to ``X-Forwarded-For``."""
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    """Addresses or networks of further reverse proxies whose ``X-Forwarded-For`` is trusted."""
    limits: Limits = Limits()
    """Limits on bodies, batches, rates and time."""
    served: LedgerSettings = LedgerSettings()
    """The logs of served forecasts, which `nsecast monitor` scores."""
    access_log: str = "stderr"
    """One JSON line for each request: ``stderr``, ``off``, or a folder for log files."""
    reload_every_s: PositiveFloat = 2.0
    """Interval between checks of the production alias."""
    requests_under_way: PositiveInt = 128
    """Concurrent requests in one router; further ones get 503 with Retry-After."""
    routers: PositiveInt = 1
    """Replicas of the ingress; each counts API rates alone."""
    general_replicas: PositiveInt = 1
    """Replicas of the general model."""
    specific_min: PositiveInt = 1
    """Minimum number of replicas of the specific models."""
    specific_max: PositiveInt = 4
    """Maximum number of replicas of the specific models."""
    target_ongoing: PositiveFloat = 1.0
    """Concurrent calls in one specific replica at which the pool neither grows nor shrinks."""
    upscale_delay_s: NonNegativeFloat = 3.0
    """How long the pool must be overloaded before it grows."""
    downscale_delay_s: NonNegativeFloat = 120.0
    """How long it must be idle before it shrinks."""
    questions_at_once: PositiveInt = 64
    """Concurrent calls in one model replica; the router queues the rest, and retries with backoff."""
    questions_queued: PositiveInt = 256
    """Calls that a router queues for a tier; further ones get 503 with Retry-After."""
    forecasts_remembered: NonNegativeInt = 4_096
    """Forecasts from the release's own prices in a router's cache; at least one for each stock; 0: none."""
    models_loaded: Annotated[int, Ge(2)] = 40
    """Models that a specific replica keeps loaded; during a reload it needs those of two releases."""
    cpus_each: NonNegativeFloat = 0.1
    """CPUs that Ray reserves for each replica, which may use more. Ray's autoscaler adds nodes only for
    reservations: on an autoscaled cluster, set what a busy replica uses (docs/operations.md)."""
    routers_per_node: PositiveInt | None = None
    """Maximum number of routers on one Ray node; default: no limit."""
    general_per_node: PositiveInt | None = None
    """Maximum number of replicas of the general model on one Ray node; default: no limit."""
    constructor_attempts: PositiveInt = 5
    """Failed starts of replicas after which Ray gives up a deployment; Ray's own default is 20."""
    unloadable_s: PositiveFloat = 600.0
    """A router that serves no release is replaced after failing to load one for this time."""

    @pydantic.model_validator(mode="after")
    def _safe(self) -> Self:
        if not self.loopback and not self.keys:
            raise ValueError("a server that others can reach needs keys: set the file of API keys")
        if self.specific_max < self.specific_min:
            raise ValueError(f"specific_max {self.specific_max} is below specific_min {self.specific_min}")
        return self

    @property
    def forecasts_per_minute(self) -> int:
        """The rate limit of each client on this machine as set, else its default; 0: no limit."""
        if self.limits.forecasts_per_minute is not None:
            return self.limits.forecasts_per_minute
        shared = self.keys or not self.loopback or self.allowed_hosts or self.trusted_proxies
        return SHARED_RATE if shared else 0

    def changed(self, user_config: Mapping[str, Any]) -> Self:
        """Return the settings updated with a ``user_config``.

        Parameters
        ----------
        user_config : any of `LIVE`; for ``limits`` only the fields that change

        Raises
        ------
        ConfigError
            If it has another setting, or an invalid value.
        """
        if unknown := sorted(set(user_config) - set(LIVE)):
            raise ConfigError(
                f"user_config: {', '.join(unknown)} cannot change in a running router. Allowed: "
                f"{', '.join(LIVE)}; set the others in `args`."
            )
        new = dict(user_config)
        if isinstance(new.get("limits"), Mapping):
            new["limits"] = self.limits.model_dump() | new["limits"]
        return self.parse(self.model_dump() | new, where="user_config")

    def resolved(self) -> Self:
        """Return the settings with absolute paths, or URLs."""
        home = storage.address_of(storage.home(self.home or None))
        keys = self.keys and storage.address_of(storage.locate(self.keys))
        return self.model_copy(update={"home": home, "keys": keys})


def read_settings(path: Path) -> dict[str, Any]:
    """Read settings from a TOML file, or from a JSON object, without validating them.

    Raises
    ------
    ConfigError
        If the file is missing or malformed.
    """
    content = read_file(path)
    if not content.lstrip().startswith(b"{"):  # TOML cannot start with a brace
        return read_toml(path)
    try:
        values: dict[str, Any] = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid JSON: {error}. Correct it, or write TOML.") from None
    return values
