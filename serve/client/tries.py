"""When a request is sent again: with full jitter, never before ``Retry-After``, all within one deadline."""

import random
import time
from collections.abc import Callable
from typing import Annotated

from annotated_types import Ge
from pydantic import PositiveFloat, PositiveInt

from common.config import Config
from common.errors import NsecastError
from serve.client.failures import worth_another_try


class RetryPolicy(Config):
    """How long a client keeps at one call."""

    deadline_s: PositiveFloat = 30.0
    """For the whole call, waiting and further tries included."""
    timeout_s: PositiveFloat = 10.0
    """For each step of one try: connecting, sending, each piece received."""
    tries: PositiveInt = 5
    """At most."""
    base_s: PositiveFloat = 0.25
    """The longest wait before the second try; each further one may be twice as long."""
    longest_s: Annotated[float, Ge(0)] = 8.0
    """The longest wait of our own choice; ``Retry-After`` may ask for more."""


class RetryLoop:
    """The tries of one call, from its start.

    Waits are drawn evenly between nothing and a bound that doubles ("full jitter"), so that clients which
    were refused together do not come back together; what ``Retry-After`` asks for is waited in any case.
    """

    def __init__(
        self,
        patience: RetryPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        drawn: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._patience, self._clock, self._drawn = patience, clock, drawn
        self._end, self._failed = clock() + patience.deadline_s, 0

    @property
    def left_s(self) -> float:
        """Until the deadline; never quite nothing, so that it can bound a wait."""
        return max(self._end - self._clock(), 1e-3)

    @property
    def over(self) -> bool:
        return self._clock() >= self._end

    def wait_s(self, error: NsecastError) -> float:
        """How long to wait before the next try; raises ``error`` if there is to be none."""
        bound = min(self._patience.longest_s, self._patience.base_s * 2**self._failed)
        self._failed += 1
        wait: float = self._drawn(0.0, bound) + error.context.get("retry_after_s", 0.0)
        last = self._failed >= self._patience.tries or wait >= self._end - self._clock()
        if last or not worth_another_try(error):
            raise error
        return wait
