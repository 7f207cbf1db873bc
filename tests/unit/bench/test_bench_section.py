"""The section of docs/results.md that `make bench` writes: the rest of the page stays as it is."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

PATH = Path(__file__).parents[3] / "bench" / "tables.py"
spec = importlib.util.spec_from_file_location("bench_section", PATH)
section = importlib.util.module_from_spec(spec)  # not imported by name: bench/ has a tune.py beside it
spec.loader.exec_module(section)

PROSE = st.text().filter(lambda text: section.BEGIN not in text and section.END not in text)


@given(before=PROSE, old=PROSE, after=PROSE, new=PROSE)
def test_only_what_is_between_the_markers_changes(before, old, after, new):
    text = section.replaced(f"{before}{section.BEGIN}{old}{section.END}{after}", new)
    assert text == f"{before}{section.BEGIN}\n{new.strip()}\n{section.END}{after}"


@given(text=PROSE, first=PROSE, second=PROSE)
def test_a_page_without_the_section_gets_it_at_its_end_and_once(text, first, second):
    once = section.replaced(text, first)
    assert once.startswith(text)
    assert section.replaced(once, first) == once
    assert section.replaced(section.replaced(once, second), first) == once


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_page_on_disk_keeps_every_byte_around_it(tmp_path, newline):
    page = tmp_path / "results.md"
    around = (
        f"# Results{newline}\u00e9 \u2014 kept  {newline}".encode(),
        f"{newline}## After{newline}".encode(),
    )
    page.write_bytes(around[0] + section.BEGIN.encode() + b"old" + section.END.encode() + around[1])
    section.put(page, "| a | b |")
    written = page.read_bytes()
    assert written.startswith(around[0]) and written.endswith(around[1])
    assert b"| a | b |" in written and b"old" not in written
    section.put(page, "| a | b |")
    assert page.read_bytes() == written


def test_a_missing_page_is_created(tmp_path):
    section.put(tmp_path / "new" / "page.md", "body")
    assert (tmp_path / "new" / "page.md").read_text() == f"{section.BEGIN}\nbody\n{section.END}\n"


BROKEN = (
    section.BEGIN,
    section.END,
    section.END + section.BEGIN,
    section.BEGIN + section.END + section.BEGIN + section.END,
)


@pytest.mark.parametrize("text", BROKEN)
def test_markers_that_are_no_pair_are_refused_and_the_page_is_left(tmp_path, text):
    page = tmp_path / "results.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="markers"):
        section.put(page, "body")
    assert page.read_text() == text


@pytest.mark.parametrize("marker", [section.BEGIN, section.END])
def test_a_marker_in_the_section_itself_is_refused(marker):
    with pytest.raises(ValueError, match="itself"):
        section.replaced("text", f"a {marker} b")


def test_the_results_of_the_project_have_one_such_section():
    text = (PATH.parents[1] / "docs" / "results.md").read_text()
    assert section.replaced(text, "body") != text
    assert text.count(section.BEGIN) == text.count(section.END) == 1
