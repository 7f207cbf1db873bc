"""The chain through a log of served forecasts: a flipped byte and a removal are noticed and named."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.releases.receipts import NOON, day_log, made_log, parts, row, write

from serve.audit.files import read_part, write_part
from serve.audit.hash_chain import check


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return made_log(tmp_path_factory.mktemp("home"))


@pytest.fixture
def copy(log, tmp_path):
    return shutil.copytree(log, tmp_path / "served")


def test_a_log_as_it_was_written_is_intact_and_every_part_is_followed(log):
    seen = []
    chain = check(log, seen.append)
    assert chain.verdict == "intact" and chain.parts == len(seen) == 9 and chain.oldest == "2022-04-01"
    assert len(chain.heads) == 3 and not chain.unchained
    assert [path.name[:4] for path in parts(log, 0).values()] == ["all-"]


def test_digests_are_those_computed_by_hand(log):
    by_writer = {}
    for path in sorted(log.rglob("*.parquet")):
        table = pq.read_table(path)
        links = json.loads(table.schema.metadata[b"nsecast.links"])
        assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(path.stem.split("-")[-1])
        rows = table.to_pylist()
        for link in links:
            own, rows = rows[: link["rows"]], rows[link["rows"] :]
            by_writer.setdefault(link["writer"], []).append((link, own))
    assert sorted(map(len, by_writer.values())) == [2, 3, 4]
    for chain in by_writer.values():
        before = None
        for number, (link, rows) in enumerate(sorted(chain, key=lambda item: item[0]["part"])):
            assert link["part"] == number and link["before"] == before
            values = [{name: value for name, value in record.items() if value is not None} for record in rows]
            stated = [link[name] for name in ("writer", "part", "day", "before", "seen")]
            text = json.dumps([*stated, values], sort_keys=True, default=str)
            assert hashlib.sha256(text.encode()).hexdigest() == link["digest"]
            before = {"day": link["day"], "digest": link["digest"]}


SHARED: list[Path] = []


def shared():
    """One log for all examples, which each puts back."""
    if not SHARED:
        SHARED.append(made_log(Path(tempfile.mkdtemp(prefix="made-log-"))))
    return SHARED[0]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_one_flipped_byte_anywhere_is_noticed_and_its_file_named(data):
    log = shared()
    path = data.draw(st.sampled_from(sorted(log.rglob("*.parquet"))))
    content = path.read_bytes()
    place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    flipped = bytearray(content)
    flipped[place] ^= 1 << bit
    try:
        path.write_bytes(flipped)
        chain = check(log)
        assert chain.verdict == "broken" and any(path.name in problem for problem in chain.problems)
    finally:
        path.write_bytes(content)
    assert check(log).verdict == "intact"


def test_every_file_but_the_last_of_a_writer_is_missed_when_it_is_gone(log, tmp_path):
    heads = {link.digest for link in check(log).heads.values()}
    removed = 0
    for number, path in enumerate(sorted(log.rglob("*.parquet"))):
        links = read_part(path)[1]
        if heads >= {link.digest for link in links} or path.parent.name == "2022-04-01":
            continue  # nothing later states it; or the oldest day, see below
        other = shutil.copytree(log, tmp_path / str(number))
        (other / path.relative_to(log)).unlink()
        chain = check(other)
        assert chain.verdict == "broken" and "is gone" in chain.problems[0], path
        removed += 1
    assert removed == 2


def test_a_file_gone_from_the_oldest_day_is_noticed_while_the_day_is_there(log, copy):
    """A day deleted completely is no problem: the log has a size limit."""
    (part,) = parts(copy, 0).values()
    (part.parent / "notes.txt").write_text("so that the folder stays")
    part.unlink()
    assert check(copy).verdict == "broken"
    shutil.rmtree(part.parent)
    chain = check(copy)
    assert chain.verdict == "intact" and chain.oldest == "2022-04-02" and chain.parts == 6


def test_a_day_gone_from_the_middle_is_noticed(copy):
    shutil.rmtree(copy / "2022-04-02")
    assert check(copy).verdict == "broken"


def test_the_head_of_a_writer_that_ended_is_missed_by_those_that_came_later(tmp_path):
    """Its own chain could not say so."""
    ended = day_log(tmp_path)
    write(ended, 0, "KCB")
    write(ended, 0, "SCOM")
    head = parts(tmp_path / "served", 0)["SCOM"]
    write(day_log(tmp_path), 0, "EQTY")
    assert check(tmp_path / "served").verdict == "intact"
    head.unlink()
    (problem,) = check(tmp_path / "served").problems
    assert "part 1 of" in problem and "is gone" in problem


def test_a_completely_rewritten_chain_is_detected_only_by_a_stored_head(tmp_path):
    genuine, forged = made_log(tmp_path / "one"), made_log(tmp_path / "two")
    kept = [check(genuine).newest.digest, *(link.digest for link in check(genuine).heads.values())]
    assert check(genuine).lacks(kept) == [] and check(forged).verdict == "intact"
    assert check(forged).lacks(kept) == kept


def test_a_head_that_was_kept_is_known_when_its_writer_has_gone_on_and_days_were_folded(tmp_path):
    log = day_log(tmp_path)
    write(log, 0, "KCB")
    kept = check(tmp_path / "served").newest.digest
    for day in (0, 1, 2):
        write(log, day, "SCOM")
    assert check(tmp_path / "served").lacks([kept]) == []


def test_days_that_are_dropped_leave_an_intact_chain(tmp_path):
    log, other = day_log(tmp_path, days_kept=2), day_log(tmp_path, days_kept=2)
    for day in range(4):
        write(log, day, "KCB")
        if day != 2:
            write(other, day, "SCOM")
    chain = check(tmp_path / "served")
    assert (chain.verdict, chain.oldest, chain.parts) == ("intact", "2022-04-03", 3)


def test_after_an_uncertain_write_a_writer_starts_a_new_chain(tmp_path, monkeypatch):
    log = day_log(tmp_path)
    write(log, 0, "KCB")

    def written_but_unsaid(*arguments):
        write_part(*arguments)
        raise OSError("the answer was lost")

    monkeypatch.setattr("serve.audit.log.write_part", written_but_unsaid)
    log.add("SCOM", lambda: row("SCOM", NOON, 10.1), "id")
    assert not log.flush()
    monkeypatch.undo()
    write(log, 0, "BAT")
    chain = check(tmp_path / "served")
    assert (chain.verdict, chain.parts, len(chain.heads)) == ("intact", 3, 2)
