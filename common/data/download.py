"""One HTTP download that survives dropped connections: continued where it broke off."""

import re
from collections.abc import Callable
from pathlib import Path

import httpx

from common.data.sources import Source
from common.errors import FetchError

ATTEMPTS = 4
"""Tries per data set before a dropped connection or a server error is reported."""
BACKOFF_SECONDS = 1.0
"""Wait before the second try; doubled each time."""
MAX_ZIP_BYTES = 512 * 2**20

Progress = Callable[[str, int, int | None], None]
"""Called with the data set's id, bytes held so far and bytes in all (None if the server does not say)."""


class _Retry(Exception):
    """Worth another try."""


def download(
    client: httpx.Client,
    url: str,
    part: Path,
    source: Source,
    folder: Path,
    progress: Progress,
    sleep: Callable[[float], None],
) -> None:
    """Bring ``part`` to the whole zip, in at most ``ATTEMPTS`` tries."""
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
        try:
            return _receive(client, url, part, source, folder, progress)
        except httpx.TimeoutException as error:
            trouble = f"no answer in time ({type(error).__name__})"
        except httpx.ConnectError as error:
            trouble = f"cannot connect ({error}); is there internet here?"
        except httpx.RequestError as error:
            trouble = f"the connection dropped ({error})"
        except _Retry as error:
            trouble = str(error)
    kept = part.stat().st_size if part.exists() else 0
    raise FetchError(
        f"{url}: {trouble}, {ATTEMPTS} tries; {kept} bytes kept. Run again to continue, or "
        f"{source.by_hand(folder)}",
        url=url,
        kept=kept,
    )


def _receive(
    client: httpx.Client, url: str, part: Path, source: Source, folder: Path, progress: Progress
) -> None:
    """One request: continue ``part`` if the server still has the very same bytes, else start over."""
    tag = part.with_suffix(".etag")
    done = part.stat().st_size if part.exists() and tag.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": tag.read_text("ascii")}
    with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code == 416:
            part.unlink(missing_ok=True)
            raise _Retry("the server has no such range")
        _refuse(answer, url, source, folder)
        span = re.match(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if answer.status_code == 206 and (not span or int(span[1]) != done):
            part.unlink(missing_ok=True)
            raise _Retry("the server answered another range than asked for")
        if answer.status_code != 206:
            done = 0
            tag.unlink(missing_ok=True)
        length = answer.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        with part.open("ab" if done else "wb") as stream:
            validator = answer.headers.get("ETag", "")
            plain = "Content-Encoding" not in answer.headers
            if (
                plain and validator.startswith('"') and validator.isascii()
            ):  # weak ones promise no equal bytes
                tag.write_text(validator, "ascii")
            for chunk in answer.iter_bytes():
                stream.write(chunk)
                done += len(chunk)
                if done > MAX_ZIP_BYTES:
                    raise FetchError(
                        f"{url}: more than {MAX_ZIP_BYTES} bytes; this is not the archive.", url=url
                    )
                progress(source.id, done, total)
    tag.unlink(missing_ok=True)


def _refuse(answer: httpx.Response, url: str, source: Source, folder: Path) -> None:
    """Turn a bad status into words, or into another try where that can help."""
    status = answer.status_code
    if status in (200, 206):
        return
    if status == 429 or status >= 500:
        raise _Retry(f"the server answered {status}")
    if status in (401, 403):
        reason = f"the publisher refused ({status})"
    elif status == 404:
        reason = "no such data set or version (404)"
    else:
        reason = f"the server answered {status}"
    raise FetchError(
        f"{url}: {reason}. To get the {source.years} files anyway, {source.by_hand(folder)}",
        url=url,
        status=status,
    )
