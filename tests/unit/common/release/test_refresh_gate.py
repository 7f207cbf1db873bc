"""The gate of a refresh: which prices it refuses, what may come, go or come back, and rejected rows."""

import pandas as pd
import pytest
from support.releases.refresh import current, longer, refreshed

from common.archive.flags import Flag
from common.errors import ArchiveError, GateClosed, ReleaseNotFound
from common.prices.panel import Panel
from common.release.refresh_production import (
    NewPrices,
    keep_rejects,
    refresh_production,
    rejects_of,
)
from common.release.registry import Registry

NO_REJECTS = pd.DataFrame(columns=["file", "line", "outcome", "reason", "symbol", "date", "raw"])


def only(panel: Panel, chosen: pd.Series) -> Panel:
    return Panel.from_frame(panel.frame[chosen], panel.source)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("older", "the new prices are older"),
        ("few", "stocks priced: got 4 of 5"),
        ("step", "market-wide step: got 6 of 6"),
        ("copy", "newest session: got 0 of 6 closes"),
        ("index", "stocks priced: got 0 of 5"),
        ("future", "date: got 20"),
        ("lost", "sessions of production"),
        ("kind", "real"),
    ],
)
def test_the_gate_refuses_prices_that_are_older_incomplete_or_implausible(home, wrong, said):
    before = current(home).panel
    panel = longer(before, 1)
    last = panel.frame["date"] == panel.dates[-1]
    if wrong == "older":
        panel = before.as_of(before.dates[-3])
    elif wrong == "few":
        panel = only(panel, ~(last & panel.frame["symbol"].isin(["THIN", "GAPS"])))
    elif wrong == "step":
        panel = longer(before, 1, factor=100)
    elif wrong == "copy":
        flags = panel.frame["flags"].mask(last, int(Flag.STALE))
        panel = Panel.from_frame(panel.frame.assign(flags=flags), panel.source)
    elif wrong == "index":
        panel = only(panel, ~last | (panel.frame["symbol"] == "^NASI"))
    elif wrong == "future":
        panel = longer(before, 2000)
    elif wrong == "lost":
        panel = only(panel, panel.frame["date"] != before.dates[-9])
    elif wrong == "kind":
        panel = Panel(panel.frame, "archive")
    releases, history = Registry(home).releases(), Registry(home).history()
    with pytest.raises((GateClosed, ArchiveError), match=said):
        refreshed(home, panel)
    assert Registry(home).releases() == releases and Registry(home).history() == history


def test_symbols_that_are_not_listed_may_come_and_go(home):
    panel = longer(current(home).panel, 1)
    last = panel.frame[(panel.frame["date"] == panel.dates[-1]) & (panel.frame["symbol"] == "MOVES")]
    others = [last.assign(symbol=f"BOND{number}") for number in range(9)]
    refreshed(home, Panel.from_frame(pd.concat([panel.frame, *others]), panel.source))
    assert "BOND8" in current(home).panel.symbols
    assert refreshed(home, longer(panel, 1), partial=True).state == "refreshed"


def test_what_was_rolled_back_does_not_come_back_by_itself(home):
    panel = longer(current(home).panel, 1)
    refreshed(home, panel)
    Registry(home).rollback()
    with pytest.raises(GateClosed, match="rolled back; only `nsecast models promote"):
        refreshed(home, panel)
    assert refreshed(home, longer(panel, 1)).state == "refreshed"


def test_nothing_in_production_says_what_to_do(tmp_path):
    with pytest.raises(ReleaseNotFound, match="nsecast train"):
        refresh_production(tmp_path, lambda before: NewPrices(before, NO_REJECTS))


def test_rejected_rows_are_kept_once(home):
    row = ["f.csv", 3, "rejected", "no price", "SCOM", pd.Timestamp("2024-01-02"), "a,b"]
    rejects = pd.DataFrame([row, [*row[:1], 4, *row[2:5], pd.NaT, ""]], columns=NO_REJECTS.columns)
    for _ in range(2):
        refresh_production(home, lambda before: NewPrices(before, rejects))
    kept = pd.read_csv(rejects_of(home))
    assert kept["line"].tolist() == [3, 4] and kept["reason"].tolist() == ["no price"] * 2
    keep_rejects(home, NO_REJECTS)
    assert len(pd.read_csv(rejects_of(home))) == 2
