"""Errors of object stores, each in a sentence."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

import obstore.exceptions as raised

from common.errors import NsecastError

KEYS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
}
"""Environment variables with the address and credentials of each kind of store, read by obstore."""
NO_BUCKET = "NoSuchBucket"


class StorageError(NsecastError):
    """An object store cannot be reached, or refuses a request."""

    http_status = 503


class Changed(StorageError):
    """Another process has written the object meanwhile."""

    http_status = 409


@contextmanager
def storage_errors(url: str, key: str = "") -> Iterator[None]:
    """Convert errors of obstore to StorageError, or FileNotFoundError if there is no such object.

    Errors about unmet conditions are left to the caller.
    """
    address = f"{url}/{key}" if key else url
    try:
        yield
    except (raised.AlreadyExistsError, raised.PreconditionError, raised.NotModifiedError):
        raise
    except (FileNotFoundError, raised.BaseError, ConnectionError, TimeoutError) as error:
        if NO_BUCKET in str(error):
            message = f"{url}: no such bucket. Create it, or correct the address."
        elif isinstance(error, FileNotFoundError):
            raise missing(url, key) from None
        elif isinstance(error, raised.PermissionDeniedError | raised.UnauthenticatedError):
            variables = KEYS.get(url.partition(":")[0][:2], "")
            message = (
                f"{address}: not allowed ({_reason(error)}). Check the credentials in the environment "
                f"({variables}) and that they may read, write, list and delete there."
            )
        else:
            message = (
                f"{address}: the object store failed: {_reason(error)}. Check its address and the network; "
                "the same command continues."
            )
        raise StorageError(message, url=url) from None


def missing(url: str, key: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "no such object", f"{url}/{key}")


def _reason(error: Exception) -> str:
    """Extract the reason from a long message that contains requests and headers."""
    text = str(error)
    if "TimedOut" in text or "kind: Timeout" in text:
        return "no answer in time"
    match = (
        re.search(r"<Code>([^<]{1,80})</Code>", text)
        or re.search(r'message: "([^"]{1,120})"', text)
        or re.search(r"status code: (\d{3} [A-Za-z ]{1,40})", text)
    )
    if match:
        return match[1].strip()
    brief = text.partition("\n")[0]
    return brief.rpartition(" - ")[2][:160] or type(error).__name__
