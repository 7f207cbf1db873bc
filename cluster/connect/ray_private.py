"""The private parts of Ray 2.60 that training and clusters need; no other module uses them.

`tests/unit/serve/launch/test_private_parts.py` fails if one of them is gone or behaves differently, and
`tests/unit/test_architecture.py` if private names are used elsewhere. The reason for each of them is in
docs/decisions.md, "Private parts of the engines".
"""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray

from common.errors import RayUnavailable

log = logging.getLogger(__name__)

AUTH_MODE = "RAY_AUTH_MODE"
PRIVATE_FILES = 0o077
"""Umask of files that only their owner may read."""


def init(*, node_ip: str | None = None, temp_dir: str | None = None, **options: Any) -> None:
    """Run ``ray.init`` and log Ray's messages on lost nodes and workers instead of printing them.

    Ray prints them on stdout, among a command's results, even with ``log_to_driver=False`` (Ray's pull
    request 19054 would have changed that, and was not merged). The node's address and the session's temporary
    folder are options of ``ray.init`` with private names.

    Parameters
    ----------
    node_ip : address of the node to start, or to join where several are on this machine
    temp_dir : folder of the session's sockets and logs
    options : of ``ray.init``
    """
    import ray._private.worker as worker

    def to_log(data: dict[str, Any], ignore_prefix: bool = False) -> None:
        log.info("ray: %s", " ".join(data["lines"])[:300])

    worker.print_to_stdstream = to_log
    private = {"_node_ip_address": node_ip, "_temp_dir": temp_dir}
    options |= {name: value for name, value in private.items() if value is not None}
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)


def use_token(*, make: bool = False) -> bool:
    """Enable Ray's token authentication for this process and its children; returns whether there is a token.

    The token is ``RAY_AUTH_TOKEN``, the file ``RAY_AUTH_TOKEN_PATH``, or ``~/.ray/auth_token``. An explicit
    ``RAY_AUTH_MODE`` is respected. Ray itself turns authentication on only for a cluster that it starts or
    finds, not for an explicit address, and after its import the variable alone has no effect (no issue is
    known).

    Parameters
    ----------
    make : create a token that only this user can read, if there is none

    Raises
    ------
    RayUnavailable
        If ``make`` is set and ``RAY_AUTH_MODE`` turns authentication off.
    """
    from ray._private.authentication import authentication_token_setup as setup

    logging.getLogger(setup.__name__).setLevel(logging.ERROR)
    mode = os.environ.get(AUTH_MODE)
    if mode is not None and mode.lower() != "token":
        if make:
            raise RayUnavailable(
                f"{AUTH_MODE}={mode}: a cluster without a token runs code for anyone who reaches it. Unset "
                "the variable."
            )
        return False
    if not make:
        return setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    setup.enable_token_auth_by_default()
    umask = os.umask(PRIVATE_FILES)
    try:
        setup.ensure_token_if_auth_enabled(create_token_if_missing=True)
    finally:
        os.umask(umask)
    return True


def at_most(workers: Callable[[], int]) -> Any:
    """Return a callback for Ray Train's ``RunConfig`` that limits a run to ``workers()`` workers.

    ``workers`` is called in the run's controller, before each start, replacement or resize. Ray's public
    callbacks see reports and exceptions, not the size of a group (Ray's issue 22349: a lost node is waited
    for).
    """
    from ray.train.v2._internal.execution.callback import ControllerCallback

    class AtMost(ControllerCallback):
        def before_controller_execute_resize_decision(self, resize_decision: Any) -> None:
            resize_decision.num_workers = max(1, min(resize_decision.num_workers, workers()))

    return AtMost()


def give_back_reservation(run_id: str) -> None:
    """Free the CPUs that an interrupted Ray Train run has reserved on a cluster; never raises.

    Ray keeps a reservation for three minutes after its driver was interrupted (introduced by Ray's pull
    request 64824; no issue is known).
    """
    with suppress(Exception):  # the reservation expires anyway
        coordinator = ray.get_actor("AutoscalingCoordinator", namespace="AutoscalingCoordinator")
        ray.get(coordinator.cancel_request.remote(f"train-{run_id}"), timeout=5)
