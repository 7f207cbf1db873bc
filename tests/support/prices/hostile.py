"""Damage to the files of a synthetic archive, and the check that no undamaged row is lost."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from common.archive.flags import Flag
from common.archive.reader import Archive
from common.prices.panel import Panel
from support.prices.archive import NEW_HEADER, OLD_HEADER, market, price_line, weekdays

YEARS = (2021, 2022, 2023)
HEADERS = {2021: OLD_HEADER, 2022: NEW_HEADER, 2023: NEW_HEADER}
MADE = {year: market(weekdays(f"{year}-01-04", 5), seed=year) for year in YEARS}
LINES = {year: [price_line(row).encode() for row in MADE[year].itertuples()] for year in YEARS}
TRUTH = {
    line: (row.symbol, row.date, row.close, row.low, row.high, 0 if row.volume == "-" else row.volume)
    for year in YEARS
    for line, row in zip(LINES[year], MADE[year].itertuples(), strict=True)
}
"""What each line says, from the market it was written from."""


def name_of(year: int) -> str:
    return f"NSE_data_all_stocks_{year}.csv"


def complete_file(year: int) -> bytes:
    return b"\n".join([HEADERS[year].encode(), *LINES[year]]) + b"\n"


WHOLE = {year: complete_file(year) for year in YEARS}
SHORTEST = min(map(len, WHOLE.values()))


@dataclass(frozen=True)
class Damage:
    """One thing done to the bytes of a file."""

    kind: str
    place: int
    what: int

    def done(self, body: bytes) -> bytes:
        place, lines = self.place % (len(body) or 1), body.split(b"\n")
        at = self.place % len(lines)
        match self.kind:
            case "flip" if body:
                return body[:place] + bytes([body[place] ^ (self.what % 255 + 1)]) + body[place + 1 :]
            case "cut":
                return body[:place]
            case "drop":
                return body[:place] + body[place + self.what :]
            case "insert":
                rubbish = (b"\0", b"\r", b"\n", b'"', b",", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1a", b"9" * 400)
                return body[:place] + rubbish[self.what % len(rubbish)] + body[place:]
            case "repeat":
                lines.insert(self.what % len(lines), lines[at])
            case "swap":
                lines[at] = reordered(lines[at], self.what, self.what // 13 + 1)
            case "field":
                fields = lines[at].split(b",")
                extreme = (b"1" + b"0" * 308, b"0." + b"0" * 320 + b"1", b"-0", b"nan", b"inf", b"1e308", b"")
                fields[self.what % len(fields)] = extreme[self.what // 13 % len(extreme)]
                lines[at] = b",".join(fields)
        return b"\n".join(lines)


def reordered(line: bytes, one: int, other: int) -> bytes:
    fields = line.split(b",")
    one, other = one % len(fields), other % len(fields)
    fields[one], fields[other] = fields[other], fields[one]
    return b",".join(fields)


DAMAGE = st.builds(
    Damage,
    st.sampled_from(["flip", "cut", "drop", "insert", "repeat", "swap", "field"]),
    st.integers(0, 2 * SHORTEST),
    st.integers(0, 500),
)


def written(folder: Path, files: dict[int, bytes]) -> Path:
    for year, body in files.items():
        (folder / name_of(year)).write_bytes(body)
    return folder


def rows_below_header(body: bytes) -> int:
    """Lines there are, however they are read."""
    return max(body.count(b"\n") + (not body.endswith(b"\n")) - 1, 0) if body else 0


def assert_nothing_is_lost(archive: Archive, files: dict[int, bytes]) -> None:
    """Each row is accounted for, and each undamaged line is read as before."""
    counts, ignored = archive.counts.set_index("file"), archive.notes[archive.notes["kind"] == "file ignored"]
    for year, body in files.items():
        if name_of(year) in counts.index:
            result = counts.loc[name_of(year)]
            assert result["read"] == rows_below_header(body)
            assert result["read"] == result["accepted"] + result["repaired"] + result["rejected"]
        else:
            (note,) = ignored[ignored["detail"].str.startswith(name_of(year))].itertuples()
            assert note.rows == rows_below_header(body)
    ledger = archive.ledger
    assert len(ledger) == counts["repaired"].sum() + counts["rejected"].sum()
    assert (ledger["reason"] != "").all()
    rebuilt = (archive.rows["flags"] & int(Flag.REBUILT)) != 0
    assert len(archive.rows) - rebuilt.sum() == counts["accepted"].sum() + counts["repaired"].sum()

    fought_over = set(ledger.loc[ledger["reason"].str.startswith("conflicts"), "raw"])
    kept = {
        (row.symbol, row.date): (row.close, row.low, row.high, row.volume)
        for row in archive.rows.itertuples()
    }
    for year, body in files.items():
        for line in body.split(b"\n")[1:] if name_of(year) in counts.index else ():
            line = line.rstrip(b"\r")
            if line in TRUTH and line.decode() not in fought_over:
                symbol, date, *values = TRUTH[line]
                assert kept[symbol, date] == tuple(values), line
    frame = Panel.from_archive(archive).frame
    assert np.isfinite(frame["close"]).all() and (frame["close"] > 0).all()
