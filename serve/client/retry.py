"""Retries of a call: full jitter, never before ``Retry-After``, all within one deadline."""

import random
import time
from collections.abc import Callable
from typing import Annotated

from annotated_types import Ge
from pydantic import PositiveFloat, PositiveInt

from common.config import Config
from common.errors import NsecastError
from serve.client.failures import is_retryable


class RetryPolicy(Config):
    """The deadline, timeouts and retries of one call."""

    deadline_s: PositiveFloat = 30.0
    """For the whole call, with its waits and retries."""
    timeout_s: PositiveFloat = 10.0
    """For each step of one attempt: connecting, sending, each chunk received."""
    tries: PositiveInt = 5
    """Maximum number of attempts."""
    base_s: PositiveFloat = 0.25
    """Bound of the wait before the second attempt; it doubles for each further one."""
    longest_s: Annotated[float, Ge(0)] = 8.0
    """Maximum of that bound; ``Retry-After`` may ask for more."""


class RetryLoop:
    """The attempts of one call, from its start.

    Waits are uniform between zero and a bound that doubles ("full jitter"), so that clients
    refused together do not return together. ``Retry-After`` is waited in addition.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        drawn: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._policy, self._clock, self._drawn = policy, clock, drawn
        self._end, self._failed = clock() + policy.deadline_s, 0

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; positive, so that it can be a timeout."""
        return max(self._end - self._clock(), 1e-3)

    @property
    def over(self) -> bool:
        return self._clock() >= self._end

    def wait_s(self, error: NsecastError) -> float:
        """Return the wait before the next attempt; raises ``error`` if there is none."""
        bound = min(self._policy.longest_s, self._policy.base_s * 2**self._failed)
        self._failed += 1
        wait: float = self._drawn(0.0, bound) + error.context.get("retry_after_s", 0.0)
        last = self._failed >= self._policy.tries or wait >= self._end - self._clock()
        if last or not is_retryable(error):
            raise error
        return wait
