"""The page and its server: operations, clocks, keys, accessibility, and servers that go away."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.serving.dashboard import ALL, beside, go, ready
from support.serving.server import serving

from common.release.registry import Registry
from serve.auth.keys import KeyFile

pytestmark = pytest.mark.e2e
pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
VIEWS = ("market/5d", "stock/SCOM/5d", "performance/5d", "operations")


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
        measure = """async script => {
            const { clock, instant, useZone, wallTime } = await import(script);
            useZone("America/New_York");
            const shown = at => [instant(at), clock(at), wallTime(at)];
            return ["2024-03-08T21:00:00Z", "2024-03-11T20:00:00Z"].flatMap(shown);
        }"""
        assert page.evaluate(measure, script) == [
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
        body["pooled"] = [row | odd if row["horizon"] == "10d" else row for row in body["pooled"]]
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


def test_the_page_requests_a_key_and_keeps_it_in_this_tab_only(open_page, home, tmp_path):
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


def serious(violations: Any) -> list[Any]:
    """What axe finds that keeps people out, and where."""
    return [
        (violation["id"], [node["html"][:200] for node in violation["nodes"][:3]])
        for violation in violations.response["violations"]
        if violation["impact"] in ("serious", "critical")
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


@pytest.mark.long
def test_the_page_reports_a_lost_server_and_continues_when_it_returns(open_page, server, home, artifacts):
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
