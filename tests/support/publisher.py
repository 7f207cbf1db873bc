"""A small server of price archives that misbehaves on request."""

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from common.archive.sources import Source

OLD, NEW = b"DATE,CODE\n" + b"1,2\n" * 40_000, b"Date,Code\n3,4\n"
PIN = hashlib.sha256(OLD).hexdigest()
SOURCE = Source(id="abc", version=2, years="2013", files={"NSE_data_all_stocks_2013.csv": PIN})


def zipped(**members):
    """A stored (uncompressed) zip, so that it is long enough to break in the middle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return stream.getvalue()


GOOD = zipped(**{"NSE prices/NSE_data_all_stocks_2013.csv": OLD, "NSE prices/readme.txt": b"hello"})


class Publisher(ThreadingHTTPServer):
    """Serves ``body`` with Range support; ``plan`` names one misbehaviour per request, then all is well."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag, self.plan, self.requests = GOOD, '"v1"', [], []
        self.ranges = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/zip"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        asked = dict(self.headers)
        server.requests.append((self.path, asked))
        step = server.plan.pop(0) if server.plan else "well"
        if isinstance(step, int):
            self.send_response(step)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body, start = server.body, 0
        span = re.fullmatch(r"bytes=(\d+)-", asked.get("Range", ""))
        if span and server.ranges and asked.get("If-Range") == server.etag:
            start = int(span[1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        self.wfile.write(body[start : start + len(body) // 3] if step == "drop" else body[start:])
        self.close_connection = True

    def log_message(self, *_):
        pass


@contextmanager
def publishing(monkeypatch) -> Iterator[Publisher]:
    """A publisher that answers for as long as the block runs."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Publisher()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
