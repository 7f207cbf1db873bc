"""A backtest from a release's name to its figures, and the command around it."""

import json

import numpy as np
import pandas as pd
import pytest
from support.prices.panel import made_panel
from support.releases.release import DAYS, made_release
from typer.testing import CliRunner

import nsecast
from common.errors import BacktestError
from common.prices.panel import Panel
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from train.evaluation.base_rates import BASE_RATES
from train.evaluation.evidence import load_evidence
from train.pipeline import backtest_period as studies
from train.pipeline.backtest_period import OURS, plan_backtest, run_backtest, summarise_models
from train.pipeline.backtest_refits import stretches_of
from train.publish.publish import test_part as part_for_the_test

PANEL = made_panel(DAYS)
SESSIONS = PANEL.dates.to_numpy().astype("datetime64[D]")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("home")
    Registry(root).promote(made_release(root).id)
    return root


@pytest.fixture(scope="module")
def models(home) -> ReleasedModels:
    return ReleasedModels(Registry(home).open("production"))


def command(home, *words: str):
    return CliRunner().invoke(nsecast.app, ["backtest", "--home", str(home), *words])


def test_the_backtest_of_the_test_part_is_the_test_part_that_was_published(models, home):
    found = run_backtest(plan_backtest(models, None, home)).table
    published = pd.read_parquet(models.release.file("test_forecasts.parquet"))
    again = part_for_the_test(found, models.release.info)
    assert set(published) - set(again) == set(BASE_RATES)
    pd.testing.assert_frame_equal(again, published[list(again)], check_exact=True, check_dtype=False)


def test_a_period_that_the_models_were_chosen_on_is_refused(models, home):
    before = np.datetime64(models.release.info["valid_end"]) - 1
    with pytest.raises(BacktestError, match=r"were fitted and chosen on prices to .*--refit-every"):
        plan_backtest(models, None, home, start=before)
    assert plan_backtest(models, None, home, start=before, refit_every=5).weights.startswith(
        "refitted every 5"
    )


def test_an_empty_period_and_prices_of_another_kind_are_refused(models, home):
    with pytest.raises(BacktestError, match="is empty"):
        plan_backtest(models, None, home, start=SESSIONS[-1], end=SESSIONS[-2])
    real = Panel(PANEL.frame, "archive")
    with pytest.raises(BacktestError, match="synthetic prices and the archive real ones"):
        plan_backtest(models, real, home)


def test_newer_files_are_forecast_without_training(models, home):
    """The same market, forty sessions longer: what both have is forecast alike, the rest follows on."""
    longer = made_panel(DAYS + 40)
    frame = pd.concat([PANEL.frame, longer.frame[longer.frame["date"] > PANEL.dates[-1]]])
    newer = Panel.from_frame(frame, PANEL.source)
    old = run_backtest(plan_backtest(models, None, home)).table
    new = run_backtest(plan_backtest(models, newer, home)).table
    both = new[new["cutoff"] <= PANEL.dates[-1]].reset_index(drop=True)
    columns = ["symbol", "cutoff", "horizon", "raw", "published", "lo90", "hi90"]
    pd.testing.assert_frame_equal(both[columns], old[columns], check_exact=True)
    assert (new["cutoff"] > PANEL.dates[-1]).sum() > 300
    assert old["target_date"].isna().sum() > both["target_date"].isna().sum()


def test_refits_follow_each_other_without_a_gap():
    stretches = stretches_of(PANEL, SESSIONS[-50], SESSIONS[-3], every=20, far=30)
    assert [(str(first), str(last)) for first, last, _ in stretches] == [
        (str(SESSIONS[-50]), str(SESSIONS[-31])),
        (str(SESSIONS[-30]), str(SESSIONS[-11])),
        (str(SESSIONS[-10]), str(SESSIONS[-3])),
    ]
    for first, last, data_end in stretches:
        assert first < data_end and last <= data_end <= SESSIONS[-1]


def test_the_last_session_belongs_to_the_last_refit_that_can_be_scored():
    stretches = stretches_of(PANEL, SESSIONS[-5], SESSIONS[-1], every=1, far=30)
    assert [str(first) for first, *_ in stretches] == [str(day) for day in SESSIONS[-5:-1]]
    assert stretches[-1][1:] == (SESSIONS[-1], SESSIONS[-1])


def test_newer_files_that_begin_on_a_copied_day_are_refused(models, home):
    last = PANEL.frame[PANEL.frame["date"] == PANEL.dates[-1]]
    later = PANEL.dates[-1] + pd.offsets.BDay(1)
    copied = last.assign(date=later, known=later, volume=last["volume"].fillna(0) + 100)
    before = Panel.from_frame(
        pd.concat([PANEL.frame[PANEL.frame["date"] < PANEL.dates[-1]], last.assign(volume=copied["volume"])]),
        PANEL.source,
    )
    with pytest.raises(BacktestError, match=r"repeats the prices and volumes.*file of the day before"):
        studies._refuse_copied_start(before, Panel.from_frame(copied, PANEL.source))
    moved = Panel.from_frame(copied.assign(close=copied["close"] + 0.05), PANEL.source)
    studies._refuse_copied_start(before, moved)


def test_each_stretch_is_forecast_by_what_was_trained_for_it(models, home, monkeypatch):
    asked = []
    monkeypatch.setattr(
        studies,
        "refitted",
        lambda models, panel, first, data_end, folder, **_: asked.append((first, data_end)) or models,
    )
    plan = plan_backtest(models, None, home, start=SESSIONS[-50], end=SESSIONS[-3], refit_every=20)
    found = run_backtest(plan)
    assert [first for first, _ in asked] == [SESSIONS[-50], SESSIONS[-30], SESSIONS[-10]]
    fixed = run_backtest(plan_backtest(models, None, home, start=SESSIONS[-50], end=SESSIONS[-3]))
    pd.testing.assert_frame_equal(found.table, fixed.table, check_exact=True)
    assert len(plan.windows) * 3 == len(found.table)


def test_every_figure_can_be_computed_again_from_the_file(home, models, tmp_path):
    out = tmp_path / "forecasts.parquet"
    result = command(home, "--baselines", "quick", "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    rows = pd.read_parquet(out)
    assert rows.columns[:15].tolist() == [
        *("symbol", "cutoff", "horizon", "target_date", "last_price", "raw", "published"),
        *("lo80", "hi80", "lo90", "hi90", "lo95", "hi95", "actual", "p_move"),
    ]
    scored = rows[rows["actual"].notna() & ~rows["frozen"]]
    for figure in (each for each in document["figures"] if each["model"] == OURS):
        own = scored[scored["horizon"] == figure["horizon"]]
        error = (own["published"] - own["actual"]).abs()
        naive = (own["last_price"] - own["actual"]).abs()
        assert figure["n"] == len(own)
        assert figure["mae"] == pytest.approx(error.mean())
        relative = (error / own["last_price"]).mean() / (naive / own["last_price"]).mean()
        assert figure["rel_mae"] == pytest.approx(relative)
        assert figure["cover90"] == pytest.approx(own["actual"].between(own["lo90"], own["hi90"]).mean())
    assert {each["model"] for each in document["figures"]} == {OURS, "naive", "drift"}
    assert document["weights"] == "fixed" and set(document["groups"]) == {"tier", "sector", "symbol"}


def test_the_report_knows_the_rivals_of_the_same_test(home, models):
    assert command(home, "--baselines", "naive,drift").exit_code == 0
    found = load_evidence(models, home)
    assert set(found.rivals["model"]) == {OURS, "naive", "drift"}
    ours = found.rivals[found.rivals["model"] == OURS].set_index("horizon")["mae"]
    assert ours.to_numpy() == pytest.approx(found.pooled.set_index("horizon")["mae"].to_numpy())


def test_a_smaller_backtest_keeps_what_a_larger_one_found(home, models):
    assert command(home, "--baselines", "quick").exit_code == 0
    assert command(home, "--baselines", "none").exit_code == 0
    assert set(load_evidence(models, home).rivals["model"]) == {OURS, "naive", "drift"}


def test_rivals_measured_on_other_prices_are_not_shown(home, models, tmp_path):
    assert command(home, "--baselines", "quick").exit_code == 0
    for path in (home / "backtests").glob("*/*/backtest.json"):
        record = json.loads(path.read_bytes())
        (tmp_path / "kept.json").write_bytes(path.read_bytes())
        path.write_text(json.dumps(record | {"data_sha256": "other"}))
        assert load_evidence(models, home).rivals is None
        path.write_bytes((tmp_path / "kept.json").read_bytes())
    assert load_evidence(models, home).rivals is not None


def test_intervals_around_naive_hold_the_last_price_and_are_nested(home, models):
    assert command(home, "--baselines", "naive").exit_code == 0
    table = pd.read_parquet(next((home / "backtests").glob("*/*/naive.parquet")))
    order = table[["lo95", "lo90", "lo80", "last_price", "hi80", "hi90", "hi95"]].to_numpy()
    assert (np.diff(order, axis=1) >= 0).all() and np.array_equal(table["raw"], table["last_price"])


def test_people_see_ours_naive_and_what_was_left_out(home):
    result = command(home, "--baselines", "quick")
    assert result.exit_code == 0
    for text in ("SYNTHETIC DATA", "weights fixed", "relMAE / relRMSE", "drift", "frozen windows"):
        assert text in result.stdout


def test_an_unknown_baseline_is_a_usage_error(home):
    result = command(home, "--baselines", "oracle")
    assert result.exit_code == 2 and "known: naive" in result.output


def test_figures_by_tier_have_a_row_for_each_tier(home, models):
    plan = plan_backtest(models, None, home)
    found = summarise_models({OURS: run_backtest(plan).table}, plan, ("tier",))
    assert set(found["tier"]) == {"specific", "general"}
