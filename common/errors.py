"""The errors that nsecast raises on purpose.

Each takes one positional message, so that it can be unpickled across Ray, and its context as keywords.
``http_status`` is the status of the server's response.
"""

import re
from typing import Any


class NsecastError(Exception):
    """Base of all expected errors; messages name what, where, got versus needed, and the next step."""

    http_status = 500

    def __init__(self, message: str = "", **context: Any) -> None:
        super().__init__(message)
        self.context = context

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else type(self).__name__

    @classmethod
    def words(cls) -> list[str]:
        """Return the words of the class name, such as ``too many requests``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cls.__name__).lower().split()

    @classmethod
    def urn(cls) -> str:
        """Return the ``type`` of the problem+json response."""
        return f"urn:nsecast:{'-'.join(cls.words())}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.context)


def _rebuild(kind: type[NsecastError], message: str, context: dict[str, Any]) -> NsecastError:
    return kind(message, **context)


class ConfigError(NsecastError):
    """A setting is unknown, misspelt or out of bounds."""

    http_status = 400


class ArchiveError(NsecastError):
    """An archive's folder or file cannot be read."""

    http_status = 422


class FetchError(NsecastError):
    """A download failed or does not match its checksum."""

    http_status = 502


class Busy(ConfigError):
    """Another process does work that excludes this; retry after ``retry_after_s`` seconds."""

    http_status = 423


class UniverseError(NsecastError):
    """The universe file names unknown, doubled or missing symbols."""

    http_status = 422


class UnknownSymbol(NsecastError):
    """No such symbol in the universe or panel."""

    http_status = 404


class BadPrices(NsecastError):
    """Prices contain a zero, a negative number or a NaN, or have the wrong shape."""

    http_status = 422


class InsufficientHistory(NsecastError):
    """There are fewer closes than one window needs."""

    http_status = 422


class BundleError(NsecastError):
    """A bundle or release is incomplete, altered or does not match its manifest."""

    http_status = 503


class ReleaseNotFound(NsecastError):
    """There is no such release, or none is published yet."""

    http_status = 404


class CardNotFound(NsecastError):
    """The release was published before releases had a model card."""

    http_status = 404


class TrainingError(NsecastError):
    """A training job or run failed."""

    http_status = 500


class BacktestError(NsecastError):
    """A requested backtest is not possible, or would not be out of sample."""

    http_status = 422


class GateClosed(NsecastError):
    """A release does not pass the checks for production."""

    http_status = 409


class ReceiptError(NsecastError):
    """A receipt was edited, or no log contains its response."""

    http_status = 404


class RayUnavailable(NsecastError):
    """No Ray cluster could be started or reached."""

    http_status = 503


class BadRequest(NsecastError):
    """A request is well formed, but the release cannot answer it."""

    http_status = 422


class NotAuthenticated(NsecastError):
    """The API key is missing or unknown."""

    http_status = 401


class Forbidden(NsecastError):
    """The API key is valid, but does not allow this."""

    http_status = 403


class TooLarge(NsecastError):
    """A request body exceeds the size limit."""

    http_status = 413


class TooSlow(NsecastError):
    """The client took too long to send a request."""

    http_status = 408


class TooManyRequests(NsecastError):
    """The key's rate limit is exceeded; retry after ``retry_after_s`` seconds."""

    http_status = 429


class Overloaded(NsecastError):
    """The service has more requests than it can answer in time; retry after ``retry_after_s`` seconds."""

    http_status = 503


class NothingServes(NsecastError):
    """No valid release is in production."""

    http_status = 503
