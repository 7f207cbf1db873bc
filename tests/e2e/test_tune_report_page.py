"""The search's report as a reader meets it: by mouse and keyboard, on a phone, light and dark."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.tuning.results import PARAMETERS, made_study, made_tuning

from tune.report import write_report

pytestmark = pytest.mark.e2e
pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHARTS = ("history", "curves", *(f"slice_{name}" for name in PARAMETERS))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "report.html"
    tuning = made_tuning(source="synthetic seed=1")
    write_report(path, tuning, made_study(tuning))
    return path


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
        page.wait_for_selector("#chart-curves .main-svg")
        return page

    yield open_at
    for page in pages:
        page.close()
    assert [url for url in troubles if not url.startswith(("data:", "blob:"))] == []


def column(page: Any, key: str) -> list[str | None]:
    cells = page.locator(f'#trials tbody [data-k="{key}"]')
    return cells.evaluate_all("cells => cells.map(c => c.dataset.v ?? null)")


def test_every_chart_is_drawn_with_as_many_marks_as_it_has_figures(open_page):
    page = open_page()
    tuning = made_tuning(source="synthetic seed=1")
    done = (tuning.finished["origin"] == "search").sum()
    for name in CHARTS:
        assert page.locator(f"#chart-{name} .main-svg").first.is_visible(), name
    for name in PARAMETERS:
        assert page.locator(f"#chart-slice_{name} .points .point").count() == done


def test_trials_sort_by_click_and_by_keyboard_and_what_has_no_figure_stays_last(open_page):
    page = open_page()
    scores = [cell for cell in column(page, "score") if cell]
    assert scores == sorted(scores, key=float) and column(page, "score")[-1] is None
    head = page.locator('#trials th[data-k="learning_rate"]')
    head.locator("button").click()
    rates = [float(cell) for cell in column(page, "learning_rate")]
    assert rates == sorted(rates) and head.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    assert [float(cell) for cell in column(page, "learning_rate")] == rates[::-1]
    assert page.locator('#trials thead th:not([aria-sort="none"])').count() == 1
    text = page.locator("#shown").inner_text()
    assert text == "52 trials. Sorted by learning rate, largest first."
    page.locator('#trials th[data-k="partial"] button').click()
    assert column(page, "partial")[0] is not None and column(page, "partial")[-1] is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768])
def test_tables_scroll_in_their_box_and_the_page_never_sideways(open_page, width, scheme):
    page = open_page(width, scheme, is_mobile=True, has_touch=True)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    box = page.locator("#trials").locator("xpath=..")
    assert box.evaluate("each => each.scrollWidth > each.clientWidth")
    for name in CHARTS:
        frame = page.locator(f"#chart-{name}").bounding_box()
        assert frame["x"] >= 0 and frame["x"] + frame["width"] <= width


def test_charts_follow_the_page_from_light_to_dark(open_page):
    page = open_page()
    ink = "getComputedStyle(document.querySelector('#chart-history .xtick text')).fill"
    light = page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(500)
    assert page.evaluate(ink) != light


def test_the_banner_of_invented_prices_is_the_first_thing_seen(open_page):
    box = open_page().locator(".banner.synthetic").bounding_box()
    assert box["y"] == 0 and box["width"] == 1440
