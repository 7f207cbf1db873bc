"""Download one file over HTTP, resuming after dropped connections."""

from collections.abc import Callable
from pathlib import Path

import httpx

from common.errors import FetchError

ATTEMPTS = 4
"""Attempts per data set before a dropped connection or a server error is reported."""
BACKOFF_SECONDS = 1.0
"""Wait before the second attempt; doubled each time."""
MAX_ZIP_BYTES = 512 * 2**20

REASONS = {
    401: "the publisher refused (401)",
    403: "the publisher refused (403)",
    404: "no such data set or version (404)",
}
"""Statuses after which there is no second attempt."""


def download(
    client: httpx.Client,
    url: str,
    part: Path,
    *,
    progress: Callable[[int, int | None], None],
    sleep: Callable[[float], None],
    by_hand: str,
) -> None:
    """Download the zip to ``part``, in at most ``ATTEMPTS`` attempts.

    Parameters
    ----------
    progress : called with the bytes so far and the size of the zip (None if the server does not send it)
    by_hand : instructions for a manual download, for the error

    Raises
    ------
    FetchError
        If the publisher refuses, the zip exceeds ``MAX_ZIP_BYTES``, or the last attempt fails.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
        try:
            return _receive(client, url, part, progress)
        except httpx.TimeoutException as error:
            trouble = f"no answer in time ({type(error).__name__})"
        except httpx.ConnectError as error:
            trouble = f"cannot connect ({error}); is there internet here?"
        except httpx.RequestError as error:
            trouble = f"the connection dropped ({error})"
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            trouble = REASONS.get(status, f"the server answered {status}")
            if status == 416:
                part.unlink(missing_ok=True)
            elif status != 429 and status < 500:
                raise FetchError(
                    f"{url}: {trouble}. To get the files anyway, {by_hand}", url=url, status=status
                ) from None
    size = part.stat().st_size if part.exists() else 0
    raise FetchError(
        f"{url}: {trouble}, {ATTEMPTS} tries; {size} bytes kept. Run again to continue, or {by_hand}",
        url=url,
        kept=size,
    )


def _receive(client: httpx.Client, url: str, part: Path, progress: Callable[[int, int | None], None]) -> None:
    """Send one request; it continues ``part`` if the server's file is unchanged, else starts over."""
    tag = part.with_suffix(".etag")
    done = part.stat().st_size if part.exists() and tag.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": tag.read_text("ascii")}
    with client.stream("GET", url, headers=headers) as response:
        response.raise_for_status()
        if response.status_code != 206:
            done = 0
            tag.unlink(missing_ok=True)
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            part.unlink(missing_ok=True)
            raise httpx.RemoteProtocolError("the server sent another range than requested")
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        with part.open("ab" if done else "wb") as stream:
            validator = response.headers.get("ETag", "")
            plain = "Content-Encoding" not in response.headers
            # Weak tags do not guarantee equal bytes.
            if plain and validator.startswith('"') and validator.isascii():
                tag.write_text(validator, "ascii")
            for chunk in response.iter_bytes():
                stream.write(chunk)
                done += len(chunk)
                if done > MAX_ZIP_BYTES:
                    raise FetchError(
                        f"{url}: more than {MAX_ZIP_BYTES} bytes; this is not the archive.", url=url
                    )
                progress(done, total)
    tag.unlink(missing_ok=True)
