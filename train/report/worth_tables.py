"""The report's section on what the forecasts are worth."""

from dataclasses import dataclass

import pandas as pd

from common.pages.tables import Table
from train.evaluation import worth_sentences as sentences
from train.evaluation.evidence import Evidence
from train.evaluation.portfolios import NEXT_CLOSE
from train.report.tables import TESTS, across_horizons, table

ENTRIES = {"next_close": "next close", "same_close": "cutoff's close"}
PORTFOLIOS = {"top_minus_market": "top fifth minus market", "top_minus_bottom": "top minus bottom fifth"}
INTERVALS = {"interval": ("low", "high"), "gross_interval": ("gross_low", "gross_high")}
INTERVALS |= {"net_interval": ("net_low", "net_high")}
IC = ("horizon", "entry", "ic", "t", "interval", "positive_share", "days", "left_out")
GAINS = (
    *(
        "horizon",
        "portfolio",
        "gross",
        "gross_t",
        "gross_interval",
        "turnover",
        "net",
        "net_t",
        "net_interval",
    ),
    *("gross_year", "net_year", "break_even", "days"),
)


@dataclass(frozen=True)
class WorthSection:
    """The texts and tables of the section."""

    verdict: str
    ranking: str
    where: str
    notes: list[str]
    tables: dict[str, Table]
    """``ic``, ``gains`` (entry at the next close), ``same_close`` and ``groups``."""


def worth_section(evidence: Evidence) -> WorthSection:
    """Return the texts and tables for a release's evidence."""
    worth = evidence.worth
    gains = _with_intervals(worth.portfolios, "%+.2f")
    executable = worth.portfolios["entry"] == NEXT_CLOSE
    cost = f"{worth.cost_percent:g} % each way"
    return WorthSection(
        sentences.verdict(worth),
        sentences.ranking(worth),
        sentences.where(worth),
        sentences.notes(evidence),
        {
            "ic": table(_with_intervals(worth.rank_ic, "%.3f").reindex(columns=IC), "Daily rank correlation"),
            "gains": _gains(gains[executable], f"Entry at the next close, costs of {cost}"),
            "same_close": _gains(gains[~executable], f"Entry at the cutoff's close, costs of {cost}"),
            "groups": _groups(worth.groups),
        },
    )


def _groups(groups: pd.DataFrame) -> Table:
    """Return a row per group: its size at the shortest horizon, and the ratios of every horizon."""
    near = groups[groups["horizon"] == groups["horizon"].min()][["group", "n", "symbols", "naive_share"]]
    wide = near.merge(across_horizons(groups, "group"), on="group")
    return table(wide, "Skill by price and liquidity; sizes at the shortest horizon", hidden=TESTS)


def _gains(frame: pd.DataFrame, caption: str) -> Table:
    return table(frame.reindex(columns=GAINS), caption)


def _with_intervals(frame: pd.DataFrame, form: str) -> pd.DataFrame:
    """Replace keys by readable names, and add intervals as text."""
    words = {"entry": ENTRIES, "portfolio": PORTFOLIOS}
    frame = frame.assign(**{key: frame[key].map(names) for key, names in words.items() if key in frame})
    for name, bounds in INTERVALS.items():
        if set(bounds) <= set(frame):
            pairs = frame[list(bounds)].to_numpy(float)
            texts = [f"{form} to {form}" % (low, high) if low == low else None for low, high in pairs]
            frame[name] = [text and text.replace(" ", "\N{NO-BREAK SPACE}") for text in texts]
    return frame
