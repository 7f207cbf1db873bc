"""The accuracy tables of README.md and docs/results.md."""

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest
from support.training.evidence import UNIVERSE, forecasts

from train.evaluation.evidence import add_stock_columns
from train.evaluation.summary import summarise

BENCH = Path(__file__).parents[3] / "bench"


def loaded(name: str):
    """A module of bench/, without its folder on the path: there is a tune.py in it."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def accuracy(monkeypatch):
    for name in ("machine", "tables"):
        monkeypatch.setitem(sys.modules, name, loaded(name))
    return loaded("accuracy")


def test_the_readmes_table_has_the_figures_of_each_model_that_was_run(accuracy):
    table = forecasts()
    rival = table.assign(published=table["last_price"], raw=table["last_price"])
    tables = {"nsecast": table, "lightgbm": rival}
    figures = pd.concat([summarise(rows).assign(model=model) for model, rows in tables.items()])
    near, later = summarise(table).to_dict(orient="records")
    _, _, naive, ours, ahead, lightgbm = accuracy.readme(figures).splitlines()
    assert naive == f"| naive | {near['naive_mae']:.3f} | 1 |"
    assert f"**{near['mae']:.3f}**" in ours and f"**{near['rel_mae']:.3f}**".replace("0.", ".") in ours
    assert ahead == f"| 5 days ahead |  | {later['rel_mae']:.3f} |".replace("| 0.", "| .")
    assert lightgbm == f"| LightGBM on the same inputs | {near['naive_mae']:.3f} | 1.000 (1.000) |"


def test_the_other_tables_are_made_of_the_same_forecasts(accuracy):
    table = add_stock_columns(forecasts(), UNIVERSE)
    figures = summarise(table).assign(model="nsecast")
    assert "| nsecast | " in accuracy.ratios(figures) and "| nsecast | 1 | " in accuracy.intervals(figures)
    assert "of them" in accuracy.by_stock(table) and "50 to 60 %" in accuracy.moves(table)
    assert "specific" in accuracy.groups(table)
