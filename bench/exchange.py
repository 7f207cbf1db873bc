"""Request every stock at every horizon over HTTP and print a Markdown table.

python bench/exchange.py --url URL
"""

import argparse
import statistics
import time

import httpx

HORIZONS = ("1d", "5d", "10d", "30d")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    with httpx.Client(base_url=parser.parse_args().url, timeout=30) as client:
        client.get("/readyz").raise_for_status()
        stocks = client.get("/api/v4/models/available").raise_for_status().json()["models"]
        client.post("/api/v4/cache/clear").raise_for_status()
        rows = [_row(client, stock["symbol"]) for stock in stocks]
    took = [row[0] for _, row in rows]  # a stock's other horizons are remembered
    print("| symbol | answered by | confidence | last | 1 day | 90 % | 5 days | 10 days | 30 days |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(row for row, _ in rows))
    print(f"\n{len(rows)} counters, {len(HORIZONS)} horizons each; median of the first answers:", end=" ")
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


if __name__ == "__main__":
    main()
