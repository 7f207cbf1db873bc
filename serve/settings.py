"""Settings of one server: arguments of ``serve.app:build_app``, in YAML or as ``name=value``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic
from annotated_types import Ge
from pydantic import IPvAnyNetwork, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from common import storage
from common.config import Config, read_file, read_toml
from common.errors import ConfigError
from serve.ledger import LedgerSettings
from serve.limits import Limits

LIVE = ("limits", "requests_under_way", "cors_origins")
"""Settings that a running router takes from its ``user_config``, without a restart."""


class ServeSettings(Config):
    """What `build_app` takes."""

    home: str = ""
    """Storage root, the same on every node; default ``$NSECAST_HOME``, else ``./nsecast-data``."""
    keys: str | None = None
    """File of API keys, see ``serve.keys``; without one nobody is asked for a key."""
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
