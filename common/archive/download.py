"""One HTTP download that survives dropped connections: continued where it broke off."""

from collections.abc import Callable
from pathlib import Path

import httpx

from common.errors import FetchError

ATTEMPTS = 4
"""Tries per data set before a dropped connection or a server error is reported."""
BACKOFF_SECONDS = 1.0
"""Wait before the second try; doubled each time."""
MAX_ZIP_BYTES = 512 * 2**20

REASONS = {
    401: "the publisher refused (401)",
    403: "the publisher refused (403)",
    404: "no such data set or version (404)",
}
"""Of statuses that no second try changes."""


def download(
    client: httpx.Client,
    url: str,
    part: Path,
    *,
    progress: Callable[[int, int | None], None],
    sleep: Callable[[float], None],
    by_hand: str,
) -> None:
    """Bring ``part`` to the complete zip, in at most ``ATTEMPTS`` tries.

    Parameters
    ----------
    progress : called with the bytes held so far, and those of the zip (None if the server does not say)
    by_hand : what a person can do instead, for the error

    Raises
    ------
    FetchError
        If the publisher refuses, sends more than ``MAX_ZIP_BYTES``, or the last try fails.
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
    kept = part.stat().st_size if part.exists() else 0
    raise FetchError(
        f"{url}: {trouble}, {ATTEMPTS} tries; {kept} bytes kept. Run again to continue, or {by_hand}",
        url=url,
        kept=kept,
    )


def _receive(client: httpx.Client, url: str, part: Path, progress: Callable[[int, int | None], None]) -> None:
    """One request: continue ``part`` if the server still has the very same bytes, else start over."""
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
            raise httpx.RemoteProtocolError("another range than requested")
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        with part.open("ab" if done else "wb") as stream:
            validator = response.headers.get("ETag", "")
            plain = "Content-Encoding" not in response.headers
            # Weak tags do not promise equal bytes.
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
