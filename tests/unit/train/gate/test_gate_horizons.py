"""Comparison with production, by horizon and by intervals."""

from pathlib import Path

import pytest
from support.training.gate import in_production, new_release

from common.release.registry import Registry
from train.evaluation.backtest import backtest
from train.gate.promotion import judge


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def test_a_release_that_is_worse_at_one_of_several_horizons_is_refused_for_that_one(registry, monkeypatch):
    in_production(registry, "old")
    new_release(registry, "new")

    def worse_three_days_ahead(models, *arguments, **named):
        table = backtest(models, *arguments, **named)
        rows = (table.table["horizon"] == 3) & (models.root.name == "new")
        table.table.loc[rows, "raw"] *= 1.01
        return table

    monkeypatch.setattr("train.gate.comparison.backtest", worse_three_days_ahead)
    (reason,) = judge(registry, "new").reasons
    assert reason.startswith("relRMSE of the raw price is") and "3 days ahead" in reason


def test_intervals_that_are_worse_than_those_in_production_are_refused(registry, monkeypatch):
    in_production(registry, "old")
    new_release(registry, "new")

    def wider(models, *arguments, **named):
        table = backtest(models, *arguments, **named)
        if models.root.name == "new":
            table.table["hi95"] *= 1.1
        return table

    monkeypatch.setattr("train.gate.comparison.backtest", wider)
    reasons = judge(registry, "new").reasons
    assert reasons and all("relPinball of the intervals" in reason for reason in reasons)


def test_a_release_without_intervals_does_not_replace_one_that_has_them(registry, monkeypatch):
    in_production(registry, "old")
    new_release(registry, "design", preset="v4_log")
    assert any(
        "the release has no intervals 1 day ahead" in reason for reason in judge(registry, "design").reasons
    )
