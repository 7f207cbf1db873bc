"""Small archives written by hand, and a publisher of archives that misbehaves on request."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd

from common.archive.fetch import Source

OLD_HEADER = (
    "DATE,CODE,NAME,12m Low,12m High,Day Low,Day High,Day Price,Previous,Change,Change%,Volume,Adjust"
)
NEW_HEADER = (
    "Date,Code,Name,12m Low,12m High,Day Low,Day High,Day Price,Previous,Change,Change%,Volume,Adjusted Price"
)
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "GGG", "^IDX")
FIELDS = ["close", "low", "high", "previous", "volume"]


def weekdays(first: str, count: int) -> list[pd.Timestamp]:
    return list(pd.bdate_range(first, periods=count))


def market(days: list[pd.Timestamp], symbols: tuple[str, ...] = SYMBOLS, seed: int = 0) -> pd.DataFrame:
    """A row per day and symbol whose price moves every day; ``written`` is the date that will be written."""
    rng = np.random.default_rng(seed)
    last = {symbol: round(float(rng.uniform(10, 90)), 2) for symbol in symbols}
    rows = []
    for day in days:
        for symbol in symbols:
            step = float(rng.choice([-1, 1])) * rng.uniform(0.01, 0.05)
            close = round(last[symbol] * (1 + step), 2)
            low, high = round(close * 0.99, 2), round(close * 1.01, 2)
            volume = "-" if symbol.startswith("^") else int(rng.integers(1, 90_000)) * 100
            rows.append((day, day, symbol, close, low, high, last[symbol], volume))
            last[symbol] = close
    columns = ["date", "written", "symbol", "close", "low", "high", "previous", "volume"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(["written", *FIELDS], "object"))


def at(frame: pd.DataFrame, day: pd.Timestamp, symbol: str | None = None) -> pd.Series:
    return (frame["date"] == day) & ((frame["symbol"] == symbol) | (symbol is None))


def copy_day(frame: pd.DataFrame, source: pd.Timestamp, day: pd.Timestamp) -> pd.DataFrame:
    """``day`` becomes a copy of ``source``; what comes after keeps its true ``Previous``."""
    rest = frame[~at(frame, day)]
    copied = frame[at(frame, source)].assign(date=day, written=day)
    return pd.concat([rest, copied]).sort_values("date", kind="stable", ignore_index=True)


def price_line(row: object) -> str:
    """One line as published: two-digit years before 2023, a thousands comma, ``-`` for nothing."""
    written = row.written if isinstance(row.written, str) else _date(row.written)
    fields = [written, row.symbol, f"{row.symbol} Plc", "1.00", "99.00", row.low, row.high, row.close]
    fields += [row.previous, "-", "-", row.volume, "-"]
    return ",".join(_field(field) for field in fields)


def write(folder: Path, frame: pd.DataFrame) -> Path:
    """A file per year, as published."""
    folder.mkdir(parents=True, exist_ok=True)
    for year, rows in frame.groupby(frame["date"].dt.year):
        header = OLD_HEADER if year < 2022 else NEW_HEADER
        text = "\n".join([header, *map(price_line, rows.itertuples())]) + "\n"
        encoding = "utf-8-sig" if year == 2021 else "utf-8"
        (folder / f"NSE_data_all_stocks_{year}.csv").write_text(text, encoding=encoding)
    return folder


def _date(day: pd.Timestamp) -> str:
    return f"{day.day}-{day:%b-%y}" if day.year < 2023 else f"{day:%d-%b-%Y}"


def _field(value: object) -> str:
    text = value if isinstance(value, str) else f"{value:,}"
    return f'"{text}"' if "," in text else text


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
    """Serves ``body``; ``plan`` names one misbehaviour per request, then all is well."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.plan, self.requests = GOOD, [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/zip"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.requests.append(self.path)
        step = server.plan.pop(0) if server.plan else "well"
        if isinstance(step, int):
            self.send_response(step)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.body
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 3] if step == "drop" else body)
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
