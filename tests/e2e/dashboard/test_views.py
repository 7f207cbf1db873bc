"""The page's views of market, stock and performance: content, mouse and keyboard."""

import httpx
import pytest
from support.serving.dashboard import ALL, column, ready

pytestmark = pytest.mark.e2e
pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")


def test_the_first_view_needs_no_plotly_and_little_else(open_page, artifacts):
    page = ready(open_page(""), "market")
    loaded = page.evaluate(
        "performance.getEntriesByType('resource').map(each => [each.name, each.transferSize])"
    )
    assert not [name for name, _ in loaded if "plotly-" in name]
    assert sum(size for _, size in loaded) < 150_000, sorted(loaded, key=lambda entry: -entry[1])[:5]
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
    forecasts = {forecast["symbol"]: forecast for forecast in answer["predictions"]}
    moving = next(forecast for forecast in forecasts.values() if 0 < forecast["probability_unchanged"] < 1)
    tile = page.locator(f".tile[href^='#stock/{moving['symbol']}/']")
    assert tile.locator("span").inner_text() == f"{moving['prediction']:,.2f}"
    label, names = tile.get_attribute("aria-label"), ("up", "unchanged", "down")
    shown = [f"{100 * moving[f'probability_{name}']:.0f}\u00a0%" for name in names]
    assert f"rise {shown[0]}, no change {shown[1]}, a fall {shown[2]}" in label
    tile.press("Enter")
    ready(page, "stock")
    page.wait_for_selector(".probability-list")
    assert page.locator(".probability-list b").all_inner_texts() == shown
    assert page.locator(".probability-bar > span").count() == 3


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


def test_an_unknown_stock_shows_what_to_do(open_page):
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
