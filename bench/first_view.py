"""Measure how soon the page shows its first view.

    python bench/first_view.py --url URL [--times 10] [--json]

Uses a new context of headless chromium each time, so the cache is empty. Times from the start of the
navigation to the page's own mark ``nsecast:shown``. Needs a running server (`nsecast serve`).
"""

import argparse
import json
import shutil
import statistics

from machine import facts, header
from playwright.sync_api import Browser, sync_playwright

SHOWN = "performance.getEntriesByName('nsecast:shown')[0].startTime"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    options, machine = parser.parse_args(), facts()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        took = sorted(_first_view(browser, options.url) for _ in range(options.times))
        browser.close()
    results = {"least_ms": took[0], "median_ms": statistics.median(took), "most_ms": took[-1]}
    if options.json:
        print(json.dumps({"machine": machine, **results}, indent=1))
        return
    print(header(machine))
    print(", ".join(f"{name.removesuffix('_ms')} {value:.0f} ms" for name, value in results.items()))


def _first_view(browser: Browser, url: str) -> float:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(url)
    page.wait_for_function("() => performance.getEntriesByName('nsecast:shown').length")
    took = page.evaluate(SHOWN)
    context.close()
    return took


if __name__ == "__main__":
    main()
