"""Every error nsecast raises on purpose.

Each takes one positional message (so that it unpickles on the other side of Ray) and its context
as keywords; ``http_status`` is what a server answers with.
"""

import re
from typing import Any


class NsecastError(Exception):
    """Base of all expected failures: what, where, got versus needed, next step."""

    http_status = 500

    def __init__(self, message: str = "", **context: Any) -> None:
        super().__init__(message)
        self.context = context

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else type(self).__name__

    @classmethod
    def words(cls) -> list[str]:
        """The name of the class as words: ``too many requests``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cls.__name__).lower().split()

    @classmethod
    def urn(cls) -> str:
        """``type`` of the problem that a server answers with."""
        return f"urn:nsecast:{'-'.join(cls.words())}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.context)


def _rebuild(kind: type[NsecastError], message: str, context: dict[str, Any]) -> NsecastError:
    return kind(message, **context)


class ConfigError(NsecastError):
    """A setting is unknown, misspelt or out of bounds."""

    http_status = 400


class ArchiveError(NsecastError):
    """An archive folder or file cannot be read as one."""

    http_status = 422


class FetchError(NsecastError):
    """A download failed or does not match its checksum."""

    http_status = 502


class UniverseError(NsecastError):
    """The universe file names unknown, doubled or missing symbols."""

    http_status = 422


class UnknownSymbol(NsecastError):
    """No such symbol in the universe or panel."""

    http_status = 404


class BadPrices(NsecastError):
    """Prices hold a zero, a negative number, a NaN or the wrong shape."""

    http_status = 422


class InsufficientHistory(NsecastError):
    """Fewer closes than one window needs."""

    http_status = 422


class BundleError(NsecastError):
    """A bundle or release is half-written, altered or does not match its manifest."""

    http_status = 503


class ReleaseNotFound(NsecastError):
    """No such release, or none published yet."""

    http_status = 404


class TrainingError(NsecastError):
    """A training job or run failed."""

    http_status = 500


class BacktestError(NsecastError):
    """A backtest was asked for that cannot be made, or would not be out of sample."""

    http_status = 422


class GateClosed(NsecastError):
    """A release does not pass what production demands."""

    http_status = 409


class ReceiptError(NsecastError):
    """A receipt was edited, or no log has the answer that one is asked for."""

    http_status = 404


class RayUnavailable(NsecastError):
    """No Ray cluster could be started or reached."""

    http_status = 503


class BadRequest(NsecastError):
    """A request that the release cannot answer, though it is well formed."""

    http_status = 422


class NotAuthenticated(NsecastError):
    """No API key, or one that is not known."""

    http_status = 401


class Forbidden(NsecastError):
    """The API key is good, and does not allow that."""

    http_status = 403


class TooLarge(NsecastError):
    """A request body beyond the cap."""

    http_status = 413


class TooSlow(NsecastError):
    """A request that took its client too long to send."""

    http_status = 408


class TooManyRequests(NsecastError):
    """More requests than the key may send; ``retry_after_s`` says when the next one is welcome."""

    http_status = 429


class Overloaded(NsecastError):
    """More under way than the service can do in time; ``retry_after_s`` says when to come again."""

    http_status = 503


class NothingServes(NsecastError):
    """No release is in production, or none that is good."""

    http_status = 503
