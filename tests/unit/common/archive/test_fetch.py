"""Downloading the archive from a small server that misbehaves on request."""

import hashlib
import io
import re
import threading
import zipfile

import pytest
from support.prices.archive import GOOD, NEW, OLD, PIN, SOURCE, Handler, publishing, zipped

from common.archive import fetch
from common.archive.fetch import Source, fetch_archive, load_sources
from common.errors import FetchError


@pytest.fixture
def publisher(monkeypatch):
    with publishing(monkeypatch) as server:
        yield server


@pytest.fixture
def get(publisher, tmp_path):
    """Fetch ``sources`` into the test's folder without really waiting between tries."""
    waits = []

    def run(*sources, **settings):
        return fetch_archive(
            tmp_path, sources=sources or [SOURCE], base_url=publisher.url, sleep=waits.append, **settings
        )

    run.waits = waits
    return run


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_data_set_is_downloaded_checked_and_put_in_place(get, publisher, tmp_path):
    report = get()
    assert (tmp_path / "NSE_data_all_stocks_2013.csv").read_bytes() == OLD
    assert report.written == ("NSE_data_all_stocks_2013.csv",) and not report.unpinned
    assert publisher.requests == ["/zip/abc/download/2"]
    assert leftovers(tmp_path) == [] and not (tmp_path / "readme.txt").exists()


def test_a_correct_file_is_not_downloaded_again(get, publisher):
    get()
    assert get().present == ("NSE_data_all_stocks_2013.csv",)
    assert len(publisher.requests) == 1


def test_a_damaged_file_is_replaced_by_the_checked_one(get, tmp_path):
    (tmp_path / "NSE_data_all_stocks_2013.csv").write_bytes(b"damaged")
    get()
    assert (tmp_path / "NSE_data_all_stocks_2013.csv").read_bytes() == OLD


def test_a_dropped_connection_is_tried_again_from_the_start(get, publisher, tmp_path):
    publisher.plan = ["drop", "drop"]
    get()
    assert (tmp_path / "NSE_data_all_stocks_2013.csv").read_bytes() == OLD
    assert len(publisher.requests) == 3 and get.waits == [1.0, 2.0]


def test_a_publisher_that_keeps_failing_is_given_up_on_and_nothing_is_written(get, publisher, tmp_path):
    publisher.plan = ["drop"] + [503] * 3
    with pytest.raises(FetchError, match=r"503, 4 tries\. Run again, or open"):
        get()
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_checksum_names_the_file_and_replaces_nothing(get, publisher, tmp_path):
    two = Source(
        id="abc", version=2, years="2013", files={**SOURCE.files, "NSE_data_all_stocks_2014.csv": ""}
    )
    (tmp_path / "NSE_data_all_stocks_2013.csv").write_bytes(b"mine")
    publisher.body = zipped(**{"NSE_data_all_stocks_2014.csv": NEW, "NSE_data_all_stocks_2013.csv": NEW})
    with pytest.raises(FetchError, match=r"NSE_data_all_stocks_2013\.csv: sha256") as caught:
        get(two)
    assert caught.value.context["expected"] == PIN
    assert caught.value.context["got"] == hashlib.sha256(NEW).hexdigest()
    assert (tmp_path / "NSE_data_all_stocks_2013.csv").read_bytes() == b"mine"
    assert not (tmp_path / "NSE_data_all_stocks_2014.csv").exists() and leftovers(tmp_path) == []


def test_a_refusal_says_what_to_do_by_hand_and_is_not_repeated(get, publisher, tmp_path):
    publisher.plan = [403]
    with pytest.raises(FetchError) as caught:
        get()
    for words in (
        "the publisher refused (403)",
        "https://data.mendeley.com/datasets/abc/2",
        '"Download all"',
        str(tmp_path),
        "run again",
    ):
        assert words in caught.value.message
    assert len(publisher.requests) == 1


def test_a_missing_version_says_so(get, publisher):
    publisher.plan = [404]
    with pytest.raises(FetchError, match=r"no such data set or version \(404\)"):
        get()


def test_a_server_error_is_tried_again_with_growing_waits(get, publisher):
    publisher.plan = [500, 429, 502]
    get()
    assert get.waits == [1.0, 2.0, 4.0]


def test_a_missing_network_is_reported_in_words(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(FetchError, match="cannot connect"):
        fetch_archive(tmp_path, sources=[SOURCE], base_url="http://127.0.0.1:1", sleep=lambda _: None)


def test_a_silent_server_is_given_up_on(get, publisher, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.05)
    over = threading.Event()
    monkeypatch.setattr(Handler, "do_GET", lambda self: over.wait(60))
    with pytest.raises(FetchError, match="no answer in time"):
        get()
    over.set()


def test_a_folder_that_cannot_be_written_is_reported_in_words(get, tmp_path):
    (tmp_path / "NSE_data_all_stocks_2013.csv").mkdir()
    with pytest.raises(FetchError, match="Free some space or choose a folder"):
        get()


@pytest.mark.parametrize("name", ["../evil.csv", "/evil.csv", "a/../../evil.csv"])
def test_a_path_outside_the_folder_is_written_inside_it(get, publisher, tmp_path, name):
    publisher.body = zipped(**{"NSE_data_all_stocks_2013.csv": OLD, name: NEW})
    report = get()
    assert set(report.written) == {"NSE_data_all_stocks_2013.csv", "evil.csv"}
    assert not (tmp_path.parent / "evil.csv").exists()


def test_files_that_unpack_to_too_much_are_refused(get, publisher, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_BYTES", len(OLD) - 1)
    with zipfile.ZipFile(stream := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("NSE_data_all_stocks_2013.csv", OLD)
    publisher.body = stream.getvalue()
    with pytest.raises(FetchError, match=f"unpacks to more than {len(OLD) - 1} bytes"):
        get()
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_is_far_too_large_is_stopped(get, publisher, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_BYTES", 1000)
    with pytest.raises(FetchError, match="more than 1000 bytes; this is not the archive"):
        get()


def test_a_web_page_instead_of_a_zip_is_thrown_away(get, publisher, tmp_path):
    publisher.body = b"<html>please log in</html>"
    with pytest.raises(FetchError, match="not a complete zip"):
        get()
    assert list(tmp_path.iterdir()) == []


def test_a_zip_damaged_inside_is_thrown_away(get, publisher, tmp_path):
    publisher.body = GOOD[:5000] + bytes(200) + GOOD[5200:]
    with pytest.raises(FetchError, match="not a complete zip"):
        get()
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_checksum_is_accepted_and_listed_as_unpinned(get, publisher):
    publisher.body = zipped(**{"NSE_data_all_stocks_2025.csv": NEW})
    source = Source(id="new", version=1, years="2025", files={"NSE_data_all_stocks_2025.csv": ""})
    assert get(source).unpinned == ("NSE_data_all_stocks_2025.csv",)
    again = get(source)
    assert again.present == again.unpinned == ("NSE_data_all_stocks_2025.csv",)
    assert len(publisher.requests) == 1


def test_a_year_published_under_another_name_is_accepted_once(get, publisher):
    source = Source(id="y", version=3, years="2024", files={"NSE_data_all_stocks_2024_jan_to_oct.csv": PIN})
    publisher.body = zipped(**{"NSE_data_all_stocks_2024_jan_to_dec.csv": NEW})
    report = get(source)
    assert report.written == report.unpinned == ("NSE_data_all_stocks_2024_jan_to_dec.csv",)
    assert report.missing == ("NSE_data_all_stocks_2024_jan_to_oct.csv",)
    assert get(source).present == ("NSE_data_all_stocks_2024_jan_to_dec.csv",)
    assert len(publisher.requests) == 1


def test_files_unzipped_by_hand_end_the_matter(get, publisher, tmp_path):
    (tmp_path / "NSE_data_all_stocks_2013.csv").write_bytes(OLD)
    get()
    assert publisher.requests == []


def test_a_synthetic_market_is_never_mixed_with_the_real_archive(get, tmp_path):
    (tmp_path / "synthetic.json").write_text("{}")
    with pytest.raises(FetchError, match="synthetic market"):
        get()


def test_the_shipped_sources_pin_every_year_to_2024():
    files = {name: pin for source in load_sources() for name, pin in source.files.items()}
    pinned = [name for name, pin in files.items() if re.fullmatch("[0-9a-f]{64}", pin)]
    assert len(pinned) == 13 and [name for name in files if name not in pinned] == [
        "NSE_data_all_stocks_2025.csv"
    ]
    assert {re.search(r"\d{4}", name)[0] for name in files} == {str(year) for year in range(2013, 2026)}
