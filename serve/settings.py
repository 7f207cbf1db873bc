"""Settings of one server: arguments of ``serve.app:build_app``, in YAML or as ``name=value``."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import pydantic
from annotated_types import Ge, Gt, Le
from pydantic import (
    AfterValidator,
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

MEMORY = "memory://"
LIVE = ("limits", "requests_under_way", "cors_origins")
"""Settings that a running router takes from its ``user_config``, without a restart."""


def checked_url(url: str) -> str:
    """Return the URL of a rate storage unchanged; raises ConfigError if it is none that is supported."""
    try:
        parts = urlsplit(url)
        server = bool(parts.hostname and parts.port) and re.fullmatch(r"(/\d*)?", parts.path)
    except ValueError:
        parts, server = urlsplit(""), None
    found = url == MEMORY or (parts.scheme in ("redis", "rediss") and server)
    if not found and not (parts.scheme == "redis+unix" and parts.path):
        raise ConfigError(
            f"rate_storage: got {shown(url)}, need memory:// (each router counts for itself), or a Redis "
            "server as redis://HOST:PORT/DB, rediss://HOST:PORT/DB (TLS) or redis+unix:///PATH."
        )
    return url


def shown(url: str) -> str:
    """A URL for people: without user, password and options."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"[:120]


class Limits(Config):
    """Caps of one server."""

    body_bytes: PositiveInt = 1_048_576
    """Largest request body; 5,000 bars are half of it."""
    batch_symbols: Annotated[PositiveInt, Le(MAX_BATCH)] = MAX_BATCH
    """Most symbols in one batch."""
    forecasts_per_minute: NonNegativeInt = 6_000
    """For each API key (address, without keys); a batch counts its symbols; 0: no limit."""
    rate_storage: Annotated[str, AfterValidator(checked_url)] = MEMORY
    """Where they are counted: ``memory://``, in each router for itself; or ``redis://HOST:PORT/DB``, for all
    routers together (also ``rediss://``, ``redis+unix:///PATH``; needs the extra ``nsecast[redis]``)."""
    timeout_s: PositiveFloat = 10.0
    """Longest time to answer one request."""

    def check_batch(self, symbols: int) -> None:
        """Raises BadRequest for a batch beyond the cap."""
        if symbols > self.batch_symbols:
            raise BadRequest(
                f"batch: got {symbols} symbols, at most {self.batch_symbols} are allowed. Send several."
            )


class LedgerSettings(Config):
    """How served forecasts are kept."""

    days_kept: NonNegativeInt = 400
    """Days of served forecasts on disk; older ones are dropped. 0: none are written."""
    megabytes_kept: PositiveInt = 256
    """Bound on all of them; the oldest days go first."""
    answers_days_kept: NonNegativeInt = 30
    """The same for answers, for which there are receipts so long; 0: none are written, nor are prices that
    requests brought."""
    answers_megabytes_kept: PositiveInt = 256
    """The same for answers; 20 bytes each, 200 and more with prices of the request's own."""
    answers_client_share: Annotated[float, Gt(0), Le(1)] = 0.5
    """Part of it that one client (API key; address, without keys) can fill in all days kept, in each router.
    The default is 4 MB a day: 200,000 answers, or some 8,000 with closes. Beyond half of a day's budget,
    prices are noted by their digest alone."""
    flush_every_s: PositiveFloat = 30.0
    """What a killed router can lose."""
    rows_buffered: PositiveInt = 20_000
    """Rows of each log kept in memory until they are written; further ones are lost, and counted."""
    megabytes_buffered: PositiveInt = 32
    """The same for the request ids and prices of these rows."""

    @property
    def answers_client_bytes(self) -> float:
        """A client's budget for a day, over all routers."""
        whole = self.answers_megabytes_kept * 2**20
        return self.answers_client_share * whole / max(self.answers_days_kept, 1)


class ServeSettings(Config):
    """What `build_app` takes."""

    home: str = ""
    """Storage root, the same on every node; default ``$NSECAST_HOME``, else ``./nsecast-data``."""
    keys: str | None = None
    """File of API keys, see ``serve.auth.keys``; without one nobody is asked for a key."""
    loopback: bool = True
    """The server is reached from this machine only, so that keys may be off. It is for the caller to bind it
    so: with HAProxy on, Ray's own default is all interfaces."""
    allowed_hosts: tuple[str, ...] = ()
    """More ``Host`` names, without port, that a server without keys answers to; names of its own machine
    always count."""
    cors_origins: tuple[str, ...] = ()
    """Web pages of these origins may ask."""
    behind_haproxy: bool = False
    """HAProxy stands in front and appends the address of its client to ``X-Forwarded-For``."""
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    """Addresses or networks of further reverse proxies whose ``X-Forwarded-For`` is believed."""
    limits: Limits = Limits()
    """Caps on bodies, batches, rates and time."""
    served: LedgerSettings = LedgerSettings()
    """The log of served forecasts, from which `nsecast monitor` measures their errors."""
    access_log: str = "stderr"
    """One JSON line a request: ``stderr``, ``off``, or a folder to write files in."""
    reload_every_s: PositiveFloat = 2.0
    """How often the production alias is looked at."""
    requests_under_way: PositiveInt = 128
    """At once in one router; one more is answered 503 with Retry-After."""
    routers: PositiveInt = 1
    """Replicas of the ingress; API rates count in each."""
    general_replicas: PositiveInt = 1
    """Replicas of the general model, fixed."""
    specific_min: PositiveInt = 1
    """Fewest replicas of the pool of specific models."""
    specific_max: PositiveInt = 4
    """Most replicas of it."""
    target_ongoing: PositiveFloat = 2.0
    """Questions under way in one specific replica at which the pool neither grows nor shrinks."""
    upscale_delay_s: NonNegativeFloat = 3.0
    """How long the pool must be short before it grows."""
    downscale_delay_s: NonNegativeFloat = 120.0
    """How long it must be idle before it shrinks."""
    questions_at_once: PositiveInt = 64
    """Calls that one model replica takes; the rest wait in the router, which asks again ever more slowly."""
    questions_queued: PositiveInt = 256
    """Calls that a router queues for a tier; beyond, 503 with Retry-After."""
    forecasts_remembered: NonNegativeInt = 4_096
    """Forecasts from the release's own prices that each router keeps, so that none is made twice; never fewer
    than the release has stocks; 0: none."""
    models_loaded: Annotated[int, Ge(2)] = 40
    """Models that a specific replica keeps loaded: two releases of all of them, during a reload."""
    cpus_each: NonNegativeFloat = 0.1
    """CPUs that Ray reserves for each replica, which may use more. Ray's autoscaler adds nodes only for what
    is reserved: on a cluster that is to grow, give what a busy replica uses (docs/operations.md)."""
    routers_per_node: PositiveInt | None = None
    """Most routers on one Ray node; default: any number, so that one node can hold all of them."""
    general_per_node: PositiveInt | None = None
    """Most replicas of the general model on one Ray node; default: any number."""
    constructor_attempts: PositiveInt = 5
    """Failed starts of a deployment's replicas after which Ray gives it up; Ray's own default is 20."""
    unloadable_s: PositiveFloat = 600.0
    """A router that could not load the release in production for so long, and serves none, is replaced."""

    @pydantic.model_validator(mode="after")
    def _safe(self) -> Self:
        if not self.loopback and not self.keys:
            raise ValueError("a server that others can reach needs keys: give the file of API keys")
        if self.specific_max < self.specific_min:
            raise ValueError(f"specific_max {self.specific_max} is below specific_min {self.specific_min}")
        return self

    def changed(self, user_config: Mapping[str, Any]) -> Self:
        """Return the settings with the limits that ``user_config`` gives anew.

        Parameters
        ----------
        user_config : some of `LIVE`; of ``limits`` the fields that change

        Raises
        ------
        ConfigError
            If it has another setting, or a value that is not allowed.
        """
        if unknown := sorted(set(user_config) - set(LIVE)):
            raise ConfigError(
                f"user_config: {', '.join(unknown)} cannot change in a running router. Allowed: "
                f"{', '.join(LIVE)}; give the rest in `args`."
            )
        new = dict(user_config)
        if isinstance(new.get("limits"), Mapping):
            new["limits"] = self.limits.model_dump() | new["limits"]
        return self.parse(self.model_dump() | new, where="user_config")

    def resolved(self) -> Self:
        """The same with names that every node understands: absolute paths, or URLs."""
        home = storage.address_of(storage.home(self.home or None))
        keys = self.keys and storage.address_of(storage.locate(self.keys))
        return self.model_copy(update={"home": home, "keys": keys})


def read_settings(path: Path) -> dict[str, Any]:
    """Settings from a TOML file, or from a JSON object; not validated yet.

    Raises
    ------
    ConfigError
        If the file is missing or malformed.
    """
    content = read_file(path)
    if not content.lstrip().startswith(b"{"):  # no TOML file begins so
        return read_toml(path)
    try:
        values: dict[str, Any] = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid JSON: {error}. Correct it, or write TOML.") from None
    return values
