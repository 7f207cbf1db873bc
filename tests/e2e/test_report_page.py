"""The report as a reader meets it: in a browser, with a mouse, a keyboard and a phone."""

import shutil
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.machine.waiting import until
from support.training.evidence import HOSTILE, bundle, made_evidence

from train.evaluation.questions import answers
from train.report import data_files, tables
from train.report.page import write_report

pytestmark = pytest.mark.e2e
pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
RATIO = '#counters tbody tr:not([hidden]) td[data-k="rel_mae"][data-h="{}"]'


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    evidence = made_evidence(folder=bundle(folder / "release"), info={"source": "synthetic seed=1"})
    write_report(folder / "report.html", evidence, answers(evidence))
    return folder / "report.html"


@pytest.fixture
def open_page(browser: Any, report: Path) -> Iterator[Any]:
    """Opens the report; at the end the page must have logged no error and requested nothing else."""
    pages, troubles = [], []

    def open_at(width: int = 1440, scheme: str = "light", **options: Any) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme, **options)
        pages.append(page)
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "request", lambda request: troubles.append(request.url) if page.url == report.as_uri() else None
        )
        page.goto(report.as_uri())
        page.wait_for_selector("#chart-stock .main-svg")
        return page

    yield open_at
    for page in pages:
        page.close()
    assert [url for url in troubles if not url.startswith(("data:", "blob:"))] == []


def symbols(page: Any) -> list[str]:
    return page.locator("#counters tbody tr:not([hidden])").evaluate_all(
        "rows => rows.map(r => r.dataset.symbol)"
    )


def numbers(page: Any, horizon: int) -> list[float]:
    ratios = page.locator(RATIO.format(horizon)).evaluate_all("cells => cells.map(c => c.dataset.v)")
    return [float(value) for value in ratios if value is not None]


def heading(page: Any, key: str, horizon: int) -> Any:
    return page.locator(f'#counters th[data-k="{key}"][data-h="{horizon}"]')


def test_a_heading_sorts_by_click_and_by_keyboard_and_says_so(open_page):
    page = open_page()
    assert symbols(page) == ["ALFA", "BETA", "GAMA", "HALT", "NEW"]
    head = heading(page, "rel_mae", 1)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    rising = numbers(page, 1)
    assert rising == sorted(rising) and len(rising) == 3
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert numbers(page, 1) == rising[::-1]
    assert set(symbols(page)[-2:]) == {"HALT", "NEW"}, "stocks without a figure stay last"
    assert page.locator('#counters thead th:not([aria-sort="none"])').count() == 1
    assert "relMAE" in page.locator("#shown").inner_text()


def test_filters_narrow_the_table_together_and_clear(open_page):
    page = open_page()
    page.get_by_label("Find", exact=True).fill("alfa")
    assert symbols(page) == ["ALFA"] and page.locator("#shown").inner_text().startswith("1 of 5")
    page.get_by_label("Find", exact=True).fill("")
    page.get_by_label("Tier", exact=True).select_option("specific")
    assert symbols(page) == ["ALFA", "HALT"]
    page.get_by_label("Flags", exact=True).select_option("frozen")
    assert symbols(page) == ["HALT"]
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Sector", exact=True).select_option("Energy <b>& Oil")
    assert symbols(page) == ["GAMA"]
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Confidence", exact=True).select_option("high")
    assert symbols(page) == ["ALFA"]


def test_the_horizon_changes_figures_charts_and_the_sorted_column(open_page):
    page = open_page()
    heading(page, "rel_mae", 1).locator("button").click()
    assert heading(page, "rel_mae", 5).is_hidden()
    page.locator("#matrix .picker").get_by_text("5 days").click()
    assert heading(page, "rel_mae", 5).is_visible() and heading(page, "rel_mae", 1).is_hidden()
    assert heading(page, "rel_mae", 5).get_attribute("aria-sort") == "ascending"
    assert numbers(page, 5) == sorted(numbers(page, 5))
    assert page.locator("#stock .picker input:checked").input_value() == "5"
    assert "5 days before" in page.locator("#stock-note").inner_text()


def test_a_stock_is_chosen_by_its_row_by_keyboard_or_from_the_list(open_page):
    page = open_page()
    page.locator('#counters tr[data-symbol="GAMA"] td[data-k="name"]').click()
    assert page.locator("#choose").input_value() == "GAMA"
    drawn = page.evaluate("document.getElementById('chart-stock').data.map(trace => trace.y.length)")
    assert drawn[:3] == [60, 60, 60]
    page.get_by_label("Stock", exact=True).select_option("NEW")
    assert page.locator("#chart-stock").is_hidden()
    assert "nothing to draw" in page.locator("#stock-note").inner_text()
    page.locator('#counters tr[data-symbol="ALFA"] button').focus()
    page.keyboard.press("Enter")
    assert page.locator("#choose").input_value() == "ALFA" and page.locator("#chart-stock").is_visible()
    assert page.locator('#counters tr[aria-current="true"]').get_attribute("data-symbol") == "ALFA"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_tables_in_their_box_and_never_the_page_sideways(open_page, scheme):
    page = open_page(360, scheme, is_mobile=True, has_touch=True)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    box = page.locator("#counters").locator("xpath=..")
    assert box.evaluate("each => each.scrollWidth > each.clientWidth")
    box.evaluate("each => { each.style.maxHeight = '160px'; each.scrollTo(400, 200); }")
    row, head, frame = (
        page.locator(where).first.bounding_box()
        for where in (".pick >> xpath=..", "#counters thead th", ".tall")
    )
    assert row["x"] == pytest.approx(frame["x"], abs=2) and head["y"] == pytest.approx(frame["y"], abs=2)


def test_charts_follow_the_page_from_light_to_dark(open_page):
    page = open_page()
    ink = "getComputedStyle(document.querySelector('#chart-stock .xtick text')).fill"
    light = page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(500)
    assert page.evaluate(ink) != light


def test_the_banner_of_invented_prices_is_the_first_thing_seen(open_page):
    box = open_page().locator(".banner.synthetic").bounding_box()
    assert box["y"] == 0 and box["width"] == 1440


@pytest.fixture
def large_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A report that keeps two rows of its table and no series, with a data file for each stock."""
    evidence = made_evidence(folder=bundle(tmp_path / "release"))
    monkeypatch.setattr(data_files, "CELLS_ROOM", 2 * len(tables.matrix_table(evidence).columns))
    monkeypatch.setattr(data_files, "SERIES_ROOM", 0)
    monkeypatch.setattr(data_files, "BLOCK_SIZE", 1)
    write_report(tmp_path / "report.html", evidence, answers(evidence))
    return tmp_path / "report.html"


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_a_large_report_loads_rows_and_stocks_from_the_files_beside_it(browser, large_report, scheme):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(large_report.parent)))
    Thread(target=server.serve_forever, daemon=True).start()
    served = f"http://127.0.0.1:{server.server_port}/report.html"
    page, troubles, loaded = browser.new_page(), [], []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: loaded.append(request.url.rpartition("/")[2]))
    page.goto(large_report.as_uri() if scheme == "file" else served)
    page.wait_for_selector("#chart-stock .main-svg")
    until(lambda: page.evaluate("document.querySelectorAll('#choose option').length === 5"))
    assert "5 of 5 stocks, 1 day ahead. The first 2 are listed" in page.locator("#shown").inner_text()
    assert symbols(page) == ["ALFA", "BETA"] and HOSTILE in page.locator("#counters").inner_text()
    page.get_by_label("Find", exact=True).fill("gama")
    page.locator('#counters tr[data-symbol="GAMA"] td[data-k="name"]').click()
    drawn = "(document.getElementById('chart-stock').data ?? []).map(trace => trace.y.length).join()"
    until(lambda: page.evaluate(f"{drawn}.startsWith('60,60,60')"))
    assert (
        page.locator("#choose").input_value() == "GAMA" and "MAE" in page.locator("#stock-facts").inner_text()
    )
    page.get_by_role("button", name="Clear").click()
    heading(page, "rel_mae", 1).locator("button").click()
    page.locator("#matrix .picker").get_by_text("5 days").click()
    until(lambda: page.evaluate("document.querySelectorAll('#counters td[data-h=\"5\"]').length > 0"))
    assert heading(page, "rel_mae", 5).get_attribute("aria-sort") == "ascending"
    assert numbers(page, 5) == sorted(numbers(page, 5)) and symbols(page)[0] == "ALFA"
    page.get_by_label("Stock", exact=True).select_option("NEW")
    until(
        lambda: page.evaluate("document.getElementById('stock-note').textContent.includes('nothing to draw')")
    )
    page.close()
    server.shutdown()
    assert troubles == []
    assert {"counters.js", "counters_1.js", "counters_5.js"} <= set(loaded) and len(loaded) == len(
        set(loaded)
    )


def test_a_large_report_without_its_files_says_what_is_missing(browser, large_report):
    shutil.rmtree(large_report.parent / "report_data")
    page = browser.new_page()
    page.goto(large_report.as_uri())
    until(
        lambda: page.evaluate("document.getElementById('shown').textContent.includes('The other 3 stocks')")
    )
    assert symbols(page) == ["ALFA", "BETA"] and page.locator("#chart-stock").is_hidden()
    assert "report_data of release 20240529-residual-abc" in page.locator("#stock-note").inner_text()
    page.close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass
