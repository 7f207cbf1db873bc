"""The report as a reader meets it: in a browser, with a mouse, a keyboard and a phone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.training.evidence import bundle, made_evidence

from train.evaluation.questions import answers
from train.report import stock_data, tables
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


def test_a_page_without_room_for_all_stocks_lists_those_traded_most(browser, tmp_path, monkeypatch):
    evidence = made_evidence(folder=bundle(tmp_path / "release"))
    monkeypatch.setattr(stock_data, "CELLS_ROOM", 2 * len(tables.matrix_columns(evidence)))
    write_report(tmp_path / "report.html", evidence, answers(evidence))
    page, troubles = browser.new_page(), []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto((tmp_path / "report.html").as_uri())
    page.wait_for_selector("#chart-stock .main-svg")
    assert len(symbols(page)) == 2 and page.locator("#choose option").count() == 2
    assert "2 of 2 stocks, 1 day ahead." in page.locator("#shown").inner_text()
    page.close()
    assert troubles == []
