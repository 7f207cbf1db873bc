"""What an object store refuses or fails at, in a sentence."""

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
"""Variables that say where a kind of store is and who asks; the library behind reads them by itself."""

NO_BUCKET = "NoSuchBucket"


class StorageError(NsecastError):
    """An object store cannot be reached, or refuses."""

    http_status = 503


class Changed(StorageError):
    """What was to be replaced has been written by another meanwhile."""

    http_status = 409


@contextmanager
def speaking(url: str, key: str = "") -> Iterator[None]:
    """Turn what the library raises into StorageError; FileNotFoundError if there is no such object.

    Conditions that do not hold are for the caller: they pass.
    """
    place = f"{url}/{key}" if key else url
    try:
        yield
    except FileNotFoundError as error:
        if NO_BUCKET in str(error):
            raise StorageError(f"{url}: no such bucket. Make it, or correct the address.") from None
        raise missing(url, key) from None
    except (raised.AlreadyExistsError, raised.PreconditionError, raised.NotModifiedError):
        raise
    except (raised.PermissionDeniedError, raised.UnauthenticatedError) as error:
        kind = KEYS.get(url.partition(":")[0][:2], "")
        raise StorageError(
            f"{place}: not allowed ({_reason(error)}). Check the credentials in the environment ({kind}) and "
            "that they may read, write, list and delete there.",
            url=url,
        ) from None
    except (raised.BaseError, ConnectionError, TimeoutError) as error:
        if NO_BUCKET in str(error):
            raise StorageError(f"{url}: no such bucket. Make it, or correct the address.") from None
        raise StorageError(
            f"{place}: the object store failed: {_reason(error)}. Check its address and the network; the "
            "same command continues.",
            url=url,
        ) from None


def missing(url: str, key: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "no such object", f"{url}/{key}")


def _reason(error: Exception) -> str:
    """The few words that matter of a long message with requests and headers in it."""
    text = str(error)
    if "TimedOut" in text or "kind: Timeout" in text:
        return "no answer in time"
    found = (
        re.search(r"<Code>([^<]{1,80})</Code>", text)
        or re.search(r'message: "([^"]{1,120})"', text)
        or re.search(r"status code: (\d{3} [A-Za-z ]{1,40})", text)
    )
    if found:
        return found[1].strip()
    brief = text.partition("\n")[0]
    return brief.rpartition(" - ")[2][:160] or type(error).__name__
