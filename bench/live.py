"""Measure a running server (`nsecast serve`): every stock over HTTP, or the page's first view.

    python bench/live.py stocks [--url URL]
    python bench/live.py page [--url URL] [--times 10] [--json]

*stocks* requests every stock at every horizon and prints a Markdown table. *page* opens the page in a new
context of headless chromium each time, so the cache is empty, and times from the start of the navigation to
the page's own mark ``nsecast:shown``.
"""

import argparse
import json
import shutil
import statistics
import time
from typing import TYPE_CHECKING

import httpx
from machine import facts, header

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HORIZONS = ("1d", "5d", "10d", "30d")
SHOWN = "performance.getEntriesByName('nsecast:shown')[0].startTime"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["stocks", "page"])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--times", type=int, default=10, help="how often the page is opened")
    parser.add_argument("--json", action="store_true", help="JSON on stdout, for the page")
    options = parser.parse_args()
    if options.what == "stocks":
        stocks(options.url)
    else:
        page(options.url, options.times, as_json=options.json)


def stocks(url: str) -> None:
    """Print the forecasts of all stocks, and the median time of each stock's first response."""
    with httpx.Client(base_url=url, timeout=30) as client:
        client.get("/readyz").raise_for_status()
        models = client.get("/api/v4/models/available").raise_for_status().json()["models"]
        client.post("/api/v4/cache/clear").raise_for_status()
        rows = [_row(client, model["symbol"]) for model in models]
    took = [times[0] for _, times in rows]  # the other horizons of a stock come from the cache
    print("| symbol | answered by | confidence | last | 1 day | 90 % | 5 days | 10 days | 30 days |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(row for row, _ in rows))
    print(f"\n{len(rows)} stocks at {len(HORIZONS)} horizons; median of the first responses:", end=" ")
    print(f"{statistics.median(took):.1f} ms")


def _row(client: httpx.Client, symbol: str) -> tuple[str, list[float]]:
    answers, took = [], []
    for horizon in HORIZONS:
        start = time.perf_counter()
        answer = client.post("/api/v4/predict", json={"symbol": symbol, "horizon": horizon})
        took.append(1e3 * (time.perf_counter() - start))
        answers.append(answer.raise_for_status().json())
    first = answers[0]
    bounds = first["confidence_interval"]
    source = "" if first["forecast_source"] == "model" else ": last price"
    cells = [
        symbol,
        first["model_type"].replace("stock_specific", "specific") + source,
        first["confidence"],
        f"{first['last_price']:,.2f}",
        f"{first['prediction']:,.2f}",
        f"{bounds['lower']:,.2f} to {bounds['upper']:,.2f}" if bounds else "-",
        *(f"{answer['prediction']:,.2f}" for answer in answers[1:]),
    ]
    return f"| {' | '.join(cells)} |", took


def page(url: str, times: int, *, as_json: bool) -> None:
    """Print how soon the page shows its first view: least, median and most."""
    from playwright.sync_api import sync_playwright

    machine = facts()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        took = sorted(_first_view(browser, url) for _ in range(times))
        browser.close()
    results = {"least_ms": took[0], "median_ms": statistics.median(took), "most_ms": took[-1]}
    if as_json:
        print(json.dumps({"machine": machine, **results}, indent=1))
        return
    print(header(machine))
    print(", ".join(f"{name.removesuffix('_ms')} {value:.0f} ms" for name, value in results.items()))


def _first_view(browser: "Browser", url: str) -> float:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(url)
    page.wait_for_function("() => performance.getEntriesByName('nsecast:shown').length")
    took = page.evaluate(SHOWN)
    context.close()
    return took


if __name__ == "__main__":
    main()
