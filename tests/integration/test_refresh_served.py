"""A server takes new prices over HTTP and serves the refreshed release, and no request fails meanwhile."""

import threading
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from support.releases.refresh import current, in_production, longer
from support.serving.server import serving

from common.prices.panel import Panel
from common.release.lock import hold_lock, lock_of
from common.release.refresh_production import rejects_of

pytestmark = pytest.mark.integration
SYMBOLS = ("MOVES", "THIN")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    in_production(home)
    return home


def rows_of(panel: Panel, day: pd.Timestamp) -> list[dict[str, Any]]:
    names = ["symbol", "close", "low", "high", "volume"]
    previous = panel.frame.groupby("symbol")["close"].shift()
    chosen = panel.frame["date"] == day
    rows = panel.frame.loc[chosen, names].assign(previous=previous[chosen]).to_dict(orient="records")
    return [{"date": f"{day:%Y-%m-%d}", **row} for row in rows]


class Traffic:
    """Forecasts as fast as one client can ask for them; every answer's status and release."""

    def __init__(self, url: str) -> None:
        self.answers: list[tuple[int, str]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(url,))

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self, url: str) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not self._stop.is_set():
                for symbol in SYMBOLS:
                    answer = client.post("/api/v4/predict", json={"symbol": symbol})
                    release = answer.json().get("release", answer.text)
                    self.answers.append((answer.status_code, release))


def test_new_prices_are_served_without_a_failed_request(home):
    before = current(home)
    panel = longer(before.panel, 1)
    day = panel.dates[-1]
    rows = rows_of(panel, day)
    bad = {"date": f"{day:%Y-%m-%d}", "symbol": "MOVES2", "close": "-"}
    with serving(home, limits={"timeout_s": 120}) as url, httpx.Client(base_url=url, timeout=150) as client:
        with Traffic(url) as traffic:
            answer = client.post("/api/v4/prices", json={"rows": [*rows, bad]})
            assert answer.status_code == 200, answer.text
            body = answer.json()
            taken = client.post("/api/v4/refresh").json()
            assert (taken["outcome"], taken["release"]) == ("taken", body["release"])
            served = client.post("/api/v4/predict", json={"symbol": "MOVES"}).json()
        assert {status for status, _ in traffic.answers} == {200}
        assert {release for _, release in traffic.answers} <= {before.release.id, body["release"]}
        assert (body["state"], body["before"], body["rows"]) == ("refreshed", before.release.id, len(rows))
        assert body["data_end"] == f"{day:%Y-%m-%d}" == served["last_date"]
        assert body["rejected"] == [{"row": len(rows) + 1, "symbol": "MOVES2", "reason": "no price"}]
        assert pd.read_csv(rejects_of(home))["symbol"].tolist() == ["MOVES2"]
        expected = current(home).forecast("MOVES")[0]
        assert served["prediction"] == expected.published and served["release"] == body["release"]

        again = client.post("/api/v4/prices", json={"rows": rows}).json()
        assert (again["state"], again["release"], again["rows"]) == ("current", body["release"], 0)
        assert (again["differences"], again["rejected"]) == (0, [])
        other = [rows[0] | {"close": rows[0]["close"] * 1.01}]
        assert client.post("/api/v4/prices", json={"rows": other}).json()["differences"] == 1

        nothing = client.post("/api/v4/prices", json={"rows": [bad]}).json()
        assert (nothing["state"], len(nothing["rejected"])) == ("rejected", 1)

        older = rows_of(panel, panel.dates[-3])
        refused = client.post("/api/v4/prices", json={"rows": older})
        assert refused.status_code == 409 and "older" in refused.json()["detail"]
        few = client.post(
            "/api/v4/prices", json={"rows": rows_of(longer(panel, 1), longer(panel, 1).dates[-1])[:1]}
        )
        assert few.status_code == 409 and "stocks priced" in few.json()["detail"]
        with hold_lock(lock_of(home)):
            busy = client.post("/api/v4/prices", json={"rows": rows})
        assert busy.status_code == 423 and int(busy.headers["Retry-After"]) > 0
        wrong = client.post("/api/v4/prices", json={"rows": [{"symbol": "MOVES", "closing": 1}]})
        assert wrong.status_code == 422
        assert current(home).release.id == body["release"]
