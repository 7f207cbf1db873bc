"""Ray's token authentication: on for every cluster of ours, and used wherever a token is there."""

import logging
import os

from common.errors import RayUnavailable


def use_token(*, make: bool = False) -> bool:
    """Let this process and its children speak to Ray with the user's token; whether there is one.

    The token is ``RAY_AUTH_TOKEN``, the file ``RAY_AUTH_TOKEN_PATH``, or ``~/.ray/auth_token``. An explicit
    ``RAY_AUTH_MODE`` is respected.

    Parameters
    ----------
    make : write a new token, for this user's eyes only, where there is none

    Raises
    ------
    RayUnavailable
        If ``make`` and ``RAY_AUTH_MODE`` turns authentication off.
    """
    from ray._private.authentication import authentication_token_setup as setup

    logging.getLogger(setup.__name__).setLevel(logging.ERROR)
    mode = os.environ.get(setup.AUTH_MODE_ENV_VAR)
    if mode is not None and mode.lower() != "token":
        if make:
            raise RayUnavailable(
                f"{setup.AUTH_MODE_ENV_VAR}={mode}: a cluster without a token runs code for anyone who "
                "reaches it. Unset the variable."
            )
        return False
    if make:
        setup.enable_token_auth_by_default()
        with _private_files():
            setup.ensure_token_if_auth_enabled(create_token_if_missing=True)
        return True
    return setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


class _private_files:
    """New files are the user's own to read."""

    def __enter__(self) -> None:
        self._before = os.umask(0o077)

    def __exit__(self, *_: object) -> None:
        os.umask(self._before)
