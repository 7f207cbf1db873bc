"""Refits: the evaluated recipe on all prices, and a release that keeps both sets of networks apart."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.prices.panel import made_panel
from support.releases.release import (
    DAYS,
    SETTINGS,
    UNIVERSE,
    made_release,
    made_run,
    pretend_refitted,
    refitted_release,
)

from common.errors import BacktestError, TrainingError
from common.presets import train_config
from common.prices.panel import Panel
from common.release.registry import Registry
from common.release.released_models import ReleasedModels, networks_line
from train.gate.checklist import run_checklist
from train.pipeline import training
from train.pipeline.backtest_period import plan_backtest, run_backtest
from train.publish.publish import test_part as part_for_the_test
from train.run.dataset import RunDataset, RunSpec
from train.run.plan import Plan, Task
from train.run.refit import disagreement, refit_plan, refuse_disagreement
from train.workers import tasks


def task(name: str, needs: tuple[str, ...] = (), epochs: int = 4) -> Task:
    job, phase = name.split("/")
    kind, _, number = phase.partition("-")
    return Task(name, job, kind, int(number or 0), needs, 100.0, epochs)


def planned() -> Plan:
    general = ("general/seed-0", "general/seed-1")
    tasks = [task(general[0]), task(general[1]), task("general/bundle", general, 0)]
    for job in ("KCB", "SCOM", "ABSA", "LOST"):
        fits = (f"{job}/scratch-0", f"{job}/finetune-0", f"{job}/finetune-1")
        tasks.append(task(fits[0]))
        tasks += [task(fits[1 + number], (general[number],)) for number in range(2)]
        tasks.append(task(f"{job}/bundle", (*fits, *general), 0))
    return Plan(tuple(tasks), {"ARM": "frozen"})


def test_a_refit_trains_what_the_choices_need_each_with_its_best_number_of_epochs(tmp_path):
    plan, choices = planned(), {"general": "general", "KCB": "average", "SCOM": "scratch", "ABSA": "general"}
    best = {task.id: number for number, task in enumerate(plan.tasks)}
    for each in plan.tasks:
        if each.phase != "bundle":
            result = {"best_epoch": best[each.id] % 5}
        elif each.job in choices:
            result = {"choice": choices[each.job]}
        else:
            continue
        (tmp_path / "tasks" / each.id).mkdir(parents=True)
        (tmp_path / "tasks" / each.id / "result.json").write_text(json.dumps(result))
    refit = {each.id: each for each in refit_plan(tmp_path, plan).tasks}
    general = {"general/seed-0", "general/seed-1", "general/bundle"}
    own = {"KCB/finetune-0", "KCB/finetune-1", "KCB/bundle", "SCOM/scratch-0", "SCOM/bundle", "ABSA/bundle"}
    assert set(refit) == general | own
    fits = set(refit) - {"general/bundle", "KCB/bundle", "SCOM/bundle", "ABSA/bundle"}
    for name in fits:
        expected = max(1, round(0.4 * (best[name] % 5))) if name.startswith("general") else best[name] % 5
        assert refit[name].epochs == expected and refit[name].cost == 25.0 * expected
    assert refit["SCOM/bundle"].needs == ("SCOM/scratch-0", "general/seed-0", "general/seed-1")


def test_a_refit_is_fitted_to_every_price_up_to_its_date_and_to_none_after_it(tmp_path):
    panel = made_panel(DAYS)
    dates = panel.dates.to_numpy().astype("datetime64[D]")
    frame = panel.frame.copy()
    later = frame["date"] > pd.Timestamp(dates[-30])
    frame.loc[later, ["close", "low", "high"]] *= 3.0
    config = train_config("residual", SETTINGS)
    spec = RunSpec(config, UNIVERSE, panel.source, "", refit=str(dates[-30]))
    real, planted = (
        RunDataset(tmp_path, spec, each) for each in (panel, Panel.from_frame(frame, panel.source))
    )
    train, valid, test = real.parts
    assert len(train) and not valid.counted.any() and not test.counted.any()
    assert train.target_date[train.counted].max() == dates[-30]
    np.testing.assert_array_equal(train.counted, planted.parts[0].counted)
    np.testing.assert_array_equal(
        real.representation.inputs(train), planted.representation.inputs(planted.parts[0])
    )
    np.testing.assert_array_equal(
        real.representation.targets(train), planted.representation.targets(planted.parts[0])
    )
    newest = RunDataset(tmp_path, replace(spec, refit=str(dates[-1])), panel).parts[0]
    assert newest.target_date[newest.counted].max() == dates[-1]


def test_a_general_network_starts_from_its_evaluated_weights_for_fewer_epochs(tmp_path, monkeypatch):
    assert [refitted_epochs(tmp_path / str(best), best) for best in (0, 1, 4, 15)] == [1, 1, 2, 6]
    evaluated = [np.full((2, 2), 7.0), np.zeros(3)]
    (tmp_path / "tasks" / "general" / "seed-1").mkdir(parents=True)
    np.savez(tmp_path / "tasks" / "general" / "seed-1" / "weights.npz", a=evaluated[0], b=evaluated[1])
    calls: list[dict] = []
    monkeypatch.setattr(tasks, "fit", lambda *args, **kwargs: calls.append({"config": args[2], **kwargs}))
    monkeypatch.setattr(tasks, "save_result", lambda *_: {})
    monkeypatch.setattr(tasks, "loop_for", lambda *_: None)
    panel, config = made_panel(DAYS), train_config("residual", SETTINGS)
    spec = RunSpec(config, UNIVERSE, panel.source, "", refit=str(panel.dates[-1].date()))
    tasks.run_task(RunDataset(tmp_path / "refit", spec, panel), task("general/seed-1", epochs=5))
    (call,) = calls
    for used, weights in zip(call["weights"], evaluated, strict=True):
        np.testing.assert_array_equal(used, weights)
    assert call["epochs"] == call["config"].epochs == 5
    assert call["config"].learning_rate == 0.5 * config.general.learning_rate


def refitted_epochs(folder: Path, best: int) -> int:
    (folder / "tasks" / "general" / "seed-0").mkdir(parents=True)
    (folder / "tasks" / "general" / "bundle").mkdir()
    (folder / "tasks" / "general" / "seed-0" / "result.json").write_text(json.dumps({"best_epoch": best}))
    (folder / "tasks" / "general" / "bundle" / "result.json").write_text(json.dumps({"choice": "general"}))
    plan = Plan((task("general/seed-0", epochs=15), task("general/bundle", ("general/seed-0",), 0)), {})
    return refit_plan(folder, plan).tasks[0].epochs


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("refitted")
    refitted_release(root)
    return root


@pytest.fixture
def release(home):
    return Registry(home).open("refitted")


def test_figures_are_those_of_the_evaluated_networks_and_forecasts_those_of_the_refitted(home, release):
    plain = made_release(home, "plain")
    for name in ("test_forecasts.parquet", "calibration.json", "performance_matrix.csv"):
        assert release.file(name).read_bytes() == plain.file(name).read_bytes()
    evaluated, served = ReleasedModels(release, "evaluated"), ReleasedModels(release)
    before = ReleasedModels(plain).forecast("MOVES")
    assert [each.raw for each in evaluated.forecast("MOVES")] == [each.raw for each in before]
    assert [each.raw for each in served.forecast("MOVES")] != [each.raw for each in before]
    assert served.seen_until == served.panel.dates[-1].date() > evaluated.seen_until
    assert not served.forecast("MOVES")[0].in_sample
    yesterday = served.panel.dates[-2].date()
    assert served.forecast("MOVES", as_of=yesterday)[0].in_sample
    assert not evaluated.forecast("MOVES", as_of=yesterday)[0].in_sample


def test_the_metadata_and_a_sentence_keep_both_dates_apart(release):
    served = ReleasedModels(release).bundle("MOVES").metadata
    assert served["train_end"] == release.info["refit"]["train_end"] == release.info["test_end"]
    assert served["refit"]["evaluated"]["train_end"] == release.info["train_end"]
    assert served["choice"] == ReleasedModels(release, "evaluated").bundle("MOVES").metadata["choice"]
    line = networks_line(release.info)
    assert release.info["train_end"] in line and release.info["test_end"] in line
    failed = networks_line({"train_end": "2022-06-01", "refit": {"failed": "MOVES: diverged."}})
    assert failed.endswith("which are served too. The refit to all prices failed: MOVES: diverged.")


def test_a_refitted_release_passes_the_checks_that_a_plain_one_passes(home, release):
    found = {check.name: check.passed for check in run_checklist(release)}
    assert found == {check.name: check.passed for check in run_checklist(made_release(home, "other"))}
    assert found["no look-ahead"]


def test_a_backtest_takes_the_networks_that_have_not_seen_its_days(home, release):
    models = ReleasedModels(release)
    test_part = plan_backtest(models, None, home)
    assert (test_part.models.networks, str(test_part.start)) == ("evaluated", release.info["valid_end"])
    table = part_for_the_test(run_backtest(test_part).table, release.info)
    published = pd.read_parquet(release.file("test_forecasts.parquet"))
    pd.testing.assert_frame_equal(table, published[list(table)], check_exact=True, check_dtype=False)
    with pytest.raises(BacktestError, match=r"the served networks .*--networks evaluated"):
        plan_backtest(models, None, home, start=test_part.start, networks="served")
    longer = made_panel(DAYS + 40)
    newer = pd.concat([models.panel.frame, longer.frame[longer.frame["date"] > models.panel.dates[-1]]])
    later = plan_backtest(models, Panel.from_frame(newer, models.panel.source), home)
    assert (later.models.networks, later.start.item()) == ("served", models.seen_until)
    row = run_backtest(later).table.query("symbol == 'MOVES' and horizon == 1").iloc[0]
    assert row["cutoff"].date() == models.seen_until and row["raw"] == models.forecast("MOVES")[0].raw


def test_a_refitted_model_that_forecasts_unlike_the_evaluated_one_is_refused(tmp_path):
    run = made_run(tmp_path)
    windows = RunDataset(run.folder, run.spec, run.panel).parts[1]
    prices = ReleasedModels(made_release(tmp_path)).bundle("general").forecaster.forecast(windows)
    assert disagreement(windows, prices, prices) == 0
    other = replace(prices, raw=prices.raw * 1.2)
    assert disagreement(windows, other, prices) > 1
    assert disagreement(windows, replace(prices, raw=prices.raw * np.nan), prices) == np.inf
    refuse_disagreement("MOVES", 0.1)
    for gap in (1.0, np.inf, np.nan):
        with pytest.raises(TrainingError, match="The evaluated models are served"):
            refuse_disagreement("MOVES", gap)


def test_a_failed_refit_serves_the_evaluated_networks_and_the_same_command_tries_again(tmp_path, monkeypatch):
    run, reasons = made_run(tmp_path), {"MOVES": "epoch 2 diverged."}
    monkeypatch.setattr(training, "ray_session", lambda **_: nullcontext(2))
    monkeypatch.setattr(training, "_train", lambda *_, **__: reasons)
    failed, _ = training.execute(run, mode="silent")
    assert failed.release.info["refit"] == {"failed": "MOVES: epoch 2 diverged."}
    assert not any(name.startswith("evaluated/") for name in failed.release.files)
    again, before = training.execute(run, mode="silent")
    assert again.release.id == failed.release.id and not before

    def refits(refit, *_, **__):
        pretend_refitted(refit)
        return {}

    monkeypatch.setattr(training, "_train", refits)
    done, _ = training.execute(run, mode="silent")
    assert done.release.info["refit"]["train_end"] == done.release.info["test_end"]
    assert done.release.id != failed.release.id
    assert training.execute(run, mode="silent")[1]
    plain, _ = training.execute(run, mode="silent", refit=False)
    assert "refit" not in plain.release.info
