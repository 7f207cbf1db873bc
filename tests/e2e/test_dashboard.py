"""The page at ``/`` as people meet it: a real server and browser, mouse, keyboard, phone, screen reader."""

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.dashboard import ALL, DashboardServer, made_home
from support.server import serving

from common.release.registry import Registry
from serve.auth.keys import KeyFile

pytestmark = pytest.mark.e2e
pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
VIEWS = ("market/5d", "stock/SCOM/5d", "performance/5d", "operations")
READY = """name => document.querySelector(`.view.${name} h2`)
    && !document.querySelector("main [aria-busy], main .loading, main .chart:not([hidden]) .chart-wait")"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[DashboardServer]:
    server = DashboardServer(home)
    try:
        server.start()
        yield server
        server.stop()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept: below ``NSECAST_ARTIFACTS`` if that is set."""
    folder = Path(os.environ.get("NSECAST_ARTIFACTS") or tmp_path_factory.mktemp("artifacts")) / "dashboard"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def open_page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Opens a page with an empty cache; at the end it must have logged nothing but what was ``allowed``."""
    contexts, troubles = [], []

    def open_at(
        view: str, width: int = 1440, scheme: str = "light", url: str = "", allowed: str = "^$"
    ) -> Any:
        url = url or request.getfixturevalue("server").url
        phone = width < 500
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, is_mobile=phone, has_touch=phone
        )
        contexts.append(context)
        page = context.new_page()

        def heard(text: str) -> None:
            if not re.search(allowed, text):
                troubles.append(text)

        page.on(
            "console", lambda message: heard(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: heard(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith((url, "data:")) else heard(asked.url))
        page.goto(f"{url}/#{view}")
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert troubles == []


def ready(page: Any, view: str) -> Any:
    """The page once that view is drawn, charts and all."""
    page.wait_for_function(READY, arg=view.split("/")[0])
    return page


def go(page: Any, view: str) -> Any:
    page.evaluate("view => { location.hash = view; }", view)
    return ready(page, view)


@contextmanager
def beside(other: ThreadPoolExecutor, manager: Any) -> Iterator[str]:
    """A context of another thread: the browser's events have this one."""
    found = other.submit(manager.__enter__).result()
    try:
        yield found
    finally:
        other.submit(manager.__exit__, None, None, None).result()


def column(page: Any, heading: str) -> list[str]:
    heads = page.locator(".tall thead th").all_inner_texts()
    place = next(number for number, text in enumerate(heads, 1) if text.startswith(heading))
    return page.locator(f".tall tbody tr > :nth-child({place})").all_inner_texts()


def test_the_first_view_needs_no_plotly_and_little_else(open_page, artifacts):
    page = ready(open_page(""), "market")
    loaded = page.evaluate(
        "performance.getEntriesByType('resource').map(each => [each.name, each.transferSize])"
    )
    assert not [name for name, _ in loaded if "plotly-" in name]
    assert sum(size for _, size in loaded) < 150_000, sorted(loaded, key=lambda each: -each[1])[:5]
    took = page.evaluate("performance.getEntriesByName('nsecast:shown')[0].startTime")
    (artifacts / "first-view.txt").write_text(f"{took:.0f} ms, {len(loaded)} files\n")


def test_invented_prices_cannot_be_missed_and_nothing_is_advice(open_page):
    page = ready(open_page("market", width=360), "market")
    box = page.locator(".banner.synthetic").bounding_box()
    assert (box["y"], box["width"]) == (0, 360) and page.title().startswith("SYNTHETIC")
    assert "Not investment advice" in page.locator("footer").inner_text()


def test_chances_are_numbers_and_words_on_the_map_and_on_a_stocks_page(open_page):
    page = ready(open_page("market/1d", scheme="dark"), "market")
    answer = httpx.get(f"{page.url.split('#')[0]}api/v4/predict/all?horizon=1d", timeout=60).json()
    forecasts = {each["symbol"]: each for each in answer["predictions"]}
    moving = next(each for each in forecasts.values() if 0 < each["probability_unchanged"] < 1)
    tile = page.locator(f".tile[href^='#stock/{moving['symbol']}/']")
    assert tile.locator("span").inner_text() == f"{moving['prediction']:,.2f}"
    label, names = tile.get_attribute("aria-label"), ("up", "unchanged", "down")
    shown = [f"{100 * moving[f'probability_{name}']:.0f}\u00a0%" for name in names]
    assert f"rise {shown[0]}, no change {shown[1]}, a fall {shown[2]}" in label
    tile.press("Enter")
    ready(page, "stock")
    page.wait_for_selector(".chance-list")
    assert page.locator(".chance-list b").all_inner_texts() == shown
    assert page.locator(".chance-bar > span").count() == 3


def test_the_market_is_sorted_filtered_and_mapped(open_page):
    page = ready(open_page("market/5d"), "market")
    assert page.locator(".tile").count() == len(column(page, "Stock")) == ALL
    page.get_by_role("button", name="Change").click()
    changes = [float(text.strip("▲▼■ %\u00a0\n").replace("−", "-")) for text in column(page, "Change")]
    assert changes == sorted(changes, reverse=True) and changes[0] > changes[-1]
    assert page.locator('th[aria-sort="descending"]').inner_text().startswith("Change")
    page.get_by_label("Sector", exact=True).select_option("Banking")
    assert set(column(page, "Sector")) == {"Banking"}
    page.get_by_label("Find", exact=True).fill("equity")
    assert (
        column(page, "Stock") == ["EQTY"] and "1 stock of 66" in page.locator(".filters + .note").inner_text()
    )
    page.get_by_label("Find", exact=True).fill("zzz")
    assert "Remove one" in page.locator(".filters + .note").inner_text()
    before = page.locator(".tile").all_inner_texts()
    page.get_by_label("30 days", exact=True).check()
    page.wait_for_function("() => document.querySelector('.legend').textContent.includes('30 days')")
    ready(page, "market")
    assert page.locator(".tile").all_inner_texts() != before and page.url.endswith("#market/30d")
    page.locator(".tile").first.press("Enter")
    ready(page, "stock")
    assert page.url.endswith("/30d")


def test_a_stock_is_found_by_ticker_name_or_sector_with_the_keyboard_alone(open_page):
    page = ready(open_page("market"), "market")
    page.wait_for_selector("#find:enabled")
    page.keyboard.press("/")
    page.keyboard.type("bank")
    options = page.locator("#found [role=option]")
    assert options.count() > 3 and page.locator("#find").get_attribute("aria-expanded") == "true"
    page.keyboard.press("ArrowDown")
    second = options.nth(1).get_attribute("data-symbol")
    assert page.locator("#find").get_attribute("aria-activedescendant") == options.nth(1).get_attribute("id")
    page.keyboard.press("Enter")
    ready(page, "stock")
    assert f"#stock/{second}" in page.url
    for typed, symbol in (("scom", "SCOM"), ("breweries", "EABL"), ("telecomm", "SCOM")):
        page.locator("#find").fill(typed)
        assert options.first.get_attribute("data-symbol") == symbol
    page.locator("#find").fill("nothing like it")
    assert "No stock has" in page.locator(".nothing").inner_text()


def test_a_stock_shows_its_fan_who_answered_and_how_good_that_was(open_page):
    page = ready(open_page("stock/SCOM/1d"), "stock")
    names = "[...document.querySelector('.chart').data].map(trace => trace.name || '')"
    assert {"close", "forecast", "80, 90, 95 % intervals"} <= set(page.evaluate(names))
    assert any(name.startswith("forecast 1 day before") for name in page.evaluate(names))
    card = page.locator(".forecast").inner_text()
    assert "1 day ahead" in card and "KES" in card and "its own model" in card and "Confidence" in card
    assert "where the last price was off by" in card
    page.locator(".picker input:checked").first.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.forecast h2').textContent === '5 days ahead'")
    assert page.locator("tr.marked th").all_inner_texts() == ["5 days", "5 days"] and page.url.endswith(
        "/SCOM/5d"
    )
    assert any(name.startswith("forecast 5 days before") for name in page.evaluate(names))
    shown = "document.querySelector('.chart').data.find(trace => trace.name === 'close').x.length"
    assert page.evaluate(shown) == 250
    page.get_by_label("3 months", exact=True).check()
    page.wait_for_function(f"() => {shown} === 65")
    page.get_by_role("checkbox", name="past forecasts").uncheck()
    assert not [name for name in page.evaluate(names) if "before" in name]


def test_a_stock_that_is_not_there_says_what_to_do(open_page):
    page = open_page("stock/SCOMM", allowed="404")
    page.wait_for_selector(".failed")
    assert "SCOMM" in page.locator(".failed").inner_text()
    page.locator(".failed a", has_text="SCOM").click()
    ready(page, "stock")
    assert page.locator("h1").inner_text().startswith("Safaricom")


def test_performance_has_the_matrix_calibration_neighbours_and_five_answers(open_page):
    page = ready(open_page("performance/1d"), "performance")
    assert len(column(page, "Stock")) == ALL and page.locator(".cards li").count() == 4
    near = column(page, "MAE")
    page.get_by_label("10 days", exact=True).check()
    assert (
        column(page, "MAE") != near and "10 days ahead" in page.locator("#calibration + .pair").inner_text()
    )
    page.get_by_label("Stock", exact=True).select_option("KCB")
    assert page.locator(".stage .ranked li").count() == 5 and "KCB" in page.locator(".stage h3").inner_text()
    assert page.locator(".answers article").count() == 5
    page.locator(".answers summary").first.click()
    assert page.locator(".answers table").first.is_visible()


def test_operations_are_live_and_say_what_was_never_run(open_page, server, home):
    page = ready(open_page("operations"), "operations")
    assert "20231229-made" in page.locator("#production + div").inner_text()
    moves = page.locator("#production ~ div table").first.locator("tbody tr")
    assert moves.count() == 2
    page.wait_for_selector("text=Router")
    assert {"Router", "GeneralModel", "SpecificModel"} <= set(
        page.locator("#traffic ~ div tbody th").all_inner_texts()
    )
    assert "has not yet checked" in page.locator("#accuracy + div").inner_text()
    before = page.evaluate("document.querySelector('.cards .note').textContent")
    page.wait_for_function(
        "before => document.querySelector('.cards .note').textContent !== before", arg=before
    )
    server.looked()
    page.reload()
    ready(page, "operations")
    text = page.locator("#accuracy + div").inner_text()
    assert "Drift since training" in text and "Forecasts served" in text


def test_times_are_those_of_the_exchanges_clocks(open_page, home):
    with ThreadPoolExecutor(1) as other, beside(other, serving(home)) as url:
        page = ready(open_page("operations", url=url), "operations")
        facts = "[...document.querySelectorAll('#production + div dd')].map(each => each.innerText).join()"
        page.wait_for_function(f"() => /:\\d\\d EAT/.test({facts})")
        page.wait_for_function("() => /last at \\d\\d:\\d\\d:\\d\\d EAT/.test(document.body.innerText)")
        assert not re.search(r"\d (UTC|GMT)", page.locator("main").inner_text())
        script = next(
            name
            for name in page.evaluate("performance.getEntriesByType('resource').map(each => each.name)")
            if name.endswith("/format.js")
        )
        asked = """async script => {
            const { clock, instant, useZone, wallTime } = await import(script);
            useZone("America/New_York");
            const shown = at => [instant(at), clock(at), wallTime(at)];
            return ["2024-03-08T21:00:00Z", "2024-03-11T20:00:00Z"].flatMap(shown);
        }"""
        assert page.evaluate(asked, script) == [
            *("8 Mar 2024, 16:00 GMT-5", "16:00:00 GMT-5", "2024-03-08 16:00:00"),
            *("11 Mar 2024, 16:00 GMT-4", "16:00:00 GMT-4", "2024-03-11 16:00:00"),
        ]
        page.close()


def test_a_verdict_that_another_measure_contradicts_is_explained(open_page, home, artifacts):
    """10 days: KES .800 against .798, and yet better in percent of the last price."""
    odd = {"mae": 0.8, "naive_mae": 0.798, "mape": 1.2, "naive_mape": 1.19, "rel_mae": 0.999}

    def of_the_stock(route: Any) -> None:
        answer = route.fetch()
        body = answer.json()
        body["performance"]["horizons"]["10d"] |= odd
        route.fulfill(response=answer, json=body)

    def of_the_release(route: Any) -> None:
        answer = route.fetch()
        body = answer.json()
        body["pooled"] = [each | odd if each["horizon"] == "10d" else each for each in body["pooled"]]
        route.fulfill(response=answer, json=body)

    with ThreadPoolExecutor(1) as other, beside(other, serving(home)) as url:
        page = ready(open_page("market", url=url), "market")
        page.route("**/api/v4/models/SCOM", of_the_stock)
        page.route("**/api/v4/insights", of_the_release)
        text = go(page, "stock/SCOM/10d").locator(".view.stock").inner_text()
        assert "0.1\u00a0% better" in text and "The verdict is relMAE" in text
        assert "10 days ahead. In KES the last price was closer, 0.800 against 0.798" in text
        page.screenshot(path=artifacts / "verdict-stock.png", full_page=True)
        page.evaluate("location.hash = 'performance/10d'")
        card = ready(page, "performance").locator(".cards li").nth(2).inner_text()
        assert "0.1\u00a0% better than the last price" in card
        assert "(MAPE) the last price was closer, 1.20\u00a0% against 1.19\u00a0%" in card
        page.screenshot(path=artifacts / "verdict-performance.png", full_page=True)
        page.close()


def test_a_key_is_asked_for_and_kept_in_this_tab_alone(open_page, home, tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.create("reader", ("read",))
    with ThreadPoolExecutor(1) as other, beside(other, serving(home, keys=str(keys.path))) as url:
        page = open_page("market", url=url, allowed="401")
        page.get_by_label("API key", exact=True).fill("nse_wrong")
        page.get_by_role("button", name="Use this key").click()
        page.wait_for_selector(".wrong")
        assert page.locator("#key").is_visible()
        page.get_by_label("API key", exact=True).fill(key)
        page.get_by_role("button", name="Use this key").click()
        ready(page, "market")
        assert page.evaluate("Object.values(sessionStorage)") == [key]
        assert key not in str(page.evaluate("[Object.values(localStorage), document.cookie, location.href]"))
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_every_view_fits_its_screen_and_is_read_by_everyone(open_page, server, artifacts, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    server.looked()
    page = open_page(VIEWS[0], width, scheme)
    for view in VIEWS:
        go(page, view)
        page.screenshot(path=artifacts / f"{view.replace('/', '-')}-{width}-{scheme}.png", full_page=True)
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") == width, view
        cut = "[...document.querySelectorAll('.box.tall')].filter(box => box.scrollWidth > box.clientWidth)"
        assert width > 360 or page.evaluate(f"{cut}.length") == 0, f"a phone cuts a table of {view}"
        if (width, scheme) not in ((360, "dark"), (1440, "light")):
            continue
        assert serious(Axe().run(page)) == []


def serious(found: Any) -> list[Any]:
    """What axe finds that keeps people out, and where."""
    return [
        (each["id"], [node["html"][:200] for node in each["nodes"][:3]])
        for each in found.response["violations"]
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("width", [360, 1440])
def test_the_apis_reference_fits_its_screen_and_is_read_by_everyone(open_page, server, artifacts, width):
    from axe_playwright_python.sync_playwright import Axe

    page = ready(open_page("market", width), "market")
    page.click("footer >> text=HTTP API")
    page.wait_for_url(f"{server.url}/docs")
    page.screenshot(path=artifacts / f"docs-{width}.png")
    page.click("text=GET /api/v4/matrix >> nth=0")
    assert page.evaluate("document.querySelector(':target').innerText") == "GET /api/v4/matrix"
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert serious(Axe().run(page)) == []


def test_the_chosen_appearance_outlives_the_visit_and_repaints_charts(open_page):
    page = ready(open_page("stock/SCOM"), "stock")
    ink = "getComputedStyle(document.querySelector('.chart .xtick text')).fill"
    light = page.evaluate(ink)
    page.get_by_label("Appearance").select_option("dark")
    page.wait_for_function(f"() => {ink} !== {light!r}")
    page.reload()
    ready(page, "stock")
    assert page.evaluate(ink) != light


def test_the_page_says_that_the_server_is_gone_and_takes_up_what_is_there_when_it_is_back(
    open_page, server, home, artifacts
):
    page = ready(open_page("market", allowed="ERR_|503|Failed to load"), "market")
    page.wait_for_function("() => performance.getEntriesByName('nsecast:complete').length")
    server.stop()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_selector("#connection:not([hidden])")
    assert "Trying again" in page.locator("#connection").inner_text()
    assert page.locator(".tile").count() == ALL, "what was shown stays"
    page.evaluate("location.hash = 'performance'")
    page.wait_for_selector("main .failed")
    page.screenshot(path=artifacts / "gone.png")
    for _ in range(6):
        with page.expect_event("requestfailed"):
            page.get_by_role("button", name="Try now").click()
    page.wait_for_selector("#connection:has-text('Trying again in')")
    seconds = re.search(r"in (\d+) second", page.locator("#connection").inner_text())
    assert seconds and int(seconds[1]) <= 13, "as often as when all is well, give or take a quarter"
    Registry(home).rollback()
    server.start()
    page.wait_for_selector("#connection", state="hidden", timeout=45_000)
    ready(page, "performance")
    assert "20231229-before" in page.locator("#release").inner_text()
