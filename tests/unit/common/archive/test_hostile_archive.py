"""Damaged price files: undamaged rows stay, and every damaged line is reported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.prices.archive import NEW_HEADER, price_line
from support.prices.hostile import (
    DAMAGE,
    LINES,
    MADE,
    TRUTH,
    WHOLE,
    YEARS,
    assert_nothing_is_lost,
    name_of,
    reordered,
    written,
)

from common.archive.reader import read_archive
from common.errors import ArchiveError, ConfigError

ROOT = Path(__file__).resolve().parents[4]
MEMORY_MB = 64
HARM = st.dictionaries(st.sampled_from(YEARS), st.lists(DAMAGE, min_size=1, max_size=6), min_size=1)


def test_the_undamaged_archive_is_read_as_it_was_written(tmp_path):
    archive = read_archive(written(tmp_path, WHOLE))
    assert len(archive.rows) == len(TRUTH) and archive.ledger.empty
    assert_nothing_is_lost(archive, WHOLE)


@pytest.mark.fuzz
@settings(max_examples=examples(40), deadline=None)
@given(HARM)
def test_damaged_bytes_do_not_change_the_undamaged_rows(tmp_path_factory, harm):
    files = dict(WHOLE)
    for year, damages in harm.items():
        for damage in damages:
            files[year] = damage.done(files[year])
    folder = written(tmp_path_factory.mktemp("harmed"), files)
    try:
        archive = read_archive(folder)
    except ArchiveError as error:
        assert set(harm) == set(YEARS) and name_of(2021) in error.message
        return
    assert_nothing_is_lost(archive, files)


@pytest.mark.fuzz
@settings(max_examples=examples(12), deadline=None)
@given(st.integers(0, len(WHOLE[2023])))
def test_a_file_cut_at_any_byte_costs_at_most_the_line_it_was_cut_in(tmp_path_factory, end):
    files = WHOLE | {2023: WHOLE[2023][:end]}
    archive = read_archive(written(tmp_path_factory.mktemp("cut"), files))
    assert_nothing_is_lost(archive, files)
    lost = len(TRUTH) - len(archive.rows)
    assume(end > len(NEW_HEADER))
    assert lost <= len(LINES[2023]) - WHOLE[2023][:end].count(b"\n") + 1


def encoded(body: bytes, encoding: str) -> bytes:
    return body.decode().encode(encoding)


@pytest.mark.parametrize(
    ("change", "read"),
    [
        (lambda body: body.replace(b"\n", b"\r\n"), True),
        (lambda body: b"\xef\xbb\xbf" + body, True),
        (lambda body: body.removesuffix(b"\n"), True),
        (lambda body: body.replace(b"AAA Plc", "Äää Plc".encode("latin-1")), True),
        (lambda body: body.replace(b" Plc", b"\0Plc"), True),
        (lambda body: body.replace(b"\n", b"\r"), False),
        (lambda body: encoded(body, "utf-16"), False),
        (lambda body: encoded(body, "utf-32-be"), False),
        (lambda body: b"\xef\xbb\xbf" * 2 + body, False),
        (lambda body: b"\0" * len(body), False),
        (lambda _: b"", False),
        (lambda _: b"\n\n\n", False),
        (lambda body: b"\n".join(reordered(line, 5, 7) for line in body.split(b"\n")), False),
        (lambda body: b"\n".join(line.rpartition(b",")[0] for line in body.split(b"\n")), False),
        (lambda body: b"\n".join(line + b"," + line for line in body.split(b"\n")), False),
    ],
    ids=[
        *(
            "CRLF",
            "BOM",
            "no last newline",
            "Latin-1 name",
            "NUL in names",
            "CR",
            "UTF-16",
            "UTF-32",
            "two BOMs",
        ),
        *("zeros", "empty", "empty lines", "columns swapped", "column missing", "columns twice"),
    ],
)
def test_a_file_in_another_format_is_read_completely_or_reported_without_affecting_others(
    tmp_path, change, read
):
    files = WHOLE | {2022: change(WHOLE[2022])}
    archive = read_archive(written(tmp_path, files))
    rows = archive.rows
    assert (rows["date"].dt.year == 2022).sum() == (len(LINES[2022]) if read else 0)
    assert (rows["date"].dt.year != 2022).sum() == len(LINES[2021]) + len(LINES[2023])
    assert_nothing_is_lost(archive, {2021: WHOLE[2021], 2023: WHOLE[2023]})
    named = archive.notes["detail"].str.startswith(name_of(2022))
    assert named.sum() == (0 if read else 1)


@pytest.mark.parametrize("kind", ["folder", "dangling link", "link to itself", "pipe", "device"])
def test_folders_and_links_named_like_price_files_are_reported(tmp_path, kind):
    written(tmp_path, WHOLE)
    path = tmp_path / name_of(2022)
    path.unlink()
    match kind:
        case "folder":
            path.mkdir()
        case "dangling link":
            path.symlink_to(tmp_path / "nowhere")
        case "link to itself":
            path.symlink_to(path)
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
    with pytest.raises(ArchiveError, match=rf"{path.name}: cannot be read: \w"):
        read_archive(tmp_path)


def test_a_file_with_an_undecodable_name_is_read(tmp_path):
    (tmp_path / os.fsdecode(b"prices\xff.csv")).write_bytes(WHOLE[2023])
    archive = read_archive(tmp_path)
    assert archive.counts[["file", "accepted"]].values.tolist() == [["prices?.csv", len(LINES[2023])]]


@pytest.mark.parametrize("price", ["9" * 300, "0." + "0" * 300 + "1", "1" + "0" * 15 + ".5"])
def test_a_price_beyond_any_price_is_rejected_and_costs_no_other(tmp_path, price):
    frame = MADE[2023].copy()
    frame.loc[8, "close"] = price
    lines = [price_line(row).encode() for row in frame.itertuples()]
    body = b"\n".join([NEW_HEADER.encode(), *lines])
    archive = read_archive(written(tmp_path, {2023: body}))
    (entry,) = archive.ledger.itertuples()
    assert entry.line == 10 and entry.reason == f"price is not a number: {price!r}"
    assert_nothing_is_lost(archive, {2023: body})


@pytest.mark.parametrize("encoding", ["utf-7", "unicode_escape", "raw_unicode_escape"])
def test_half_characters_of_strange_encodings_are_no_crash(tmp_path, encoding):
    (tmp_path / "columns.toml").write_text(
        f'encoding = "{encoding}"\n[columns]\ndate = "Date"\nsymbol = "Code"\nclose = "Close"\n'
    )
    (tmp_path / "a.csv").write_bytes(b"Date,Code,Close\n2023-01-04,\\ud800+2AA-,7\n2023-01-05,GOOD,8.5\n")
    archive = read_archive(tmp_path)
    assert archive.rows[["symbol", "close"]].values.tolist() == [["GOOD", 8.5]]
    assert archive.ledger["line"].tolist() == [2]


@pytest.mark.parametrize("encoding", ["idna", "utf-16", "undefined", "rot13"])
def test_an_encoding_that_the_file_does_not_have_is_an_error_that_names_it(tmp_path, encoding):
    (tmp_path / "columns.toml").write_text(
        f'encoding = "{encoding}"\n[columns]\ndate = "Date"\nsymbol = "Code"\nclose = "Close"\n'
    )
    (tmp_path / "a.csv").write_bytes(b"Date,Code,Close\n2023-01-05,GOOD,8.5\n")
    with pytest.raises((ArchiveError, ConfigError), match=r"a\.csv: cannot be read|encoding"):
        read_archive(tmp_path)


@pytest.mark.parametrize("at", ["before", "between", "as header"])
def test_a_line_of_64_mb_is_rejected_by_name_without_being_loaded(tmp_path, at):
    """In a process of its own, whose largest memory is measured before and after."""
    lines, size = list(LINES[2023]), MEMORY_MB * 1_000_000
    huge = tmp_path / name_of(2023)
    start = {"before": 1, "between": 20, "as header": 0}[at]
    body = [NEW_HEADER.encode(), *lines]
    with huge.open("wb") as file:
        file.write(b"".join(line + b"\n" for line in body[:start]))
        file.seek(size, os.SEEK_CUR)  # zeros that take no room on disk
        file.write(b"\n" + b"\n".join(body[start:]) + b"\n")
    written(tmp_path, {2022: WHOLE[2022]})
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom common.archive.reader import read_archive\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "folder = Path(sys.argv[1])\nread_archive(folder / 'small')\nbefore = peak()\n"
        "archive = read_archive(folder)\n"
        "print(peak() - before, len(archive.rows), list(archive.ledger.reason), list(archive.notes.detail))\n"
    )
    (tmp_path / "small").mkdir()
    written(tmp_path / "small", WHOLE)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    grown, rows, parts = done.stdout.split(" ", 2)
    assert float(grown) < MEMORY_MB / 4, done.stdout
    if at == "as header":
        assert int(rows) == len(LINES[2022]) and name_of(2023) in parts
    else:
        assert int(rows) == len(LINES[2022]) + len(LINES[2023])
        assert "line of more than 10000 characters" in parts
