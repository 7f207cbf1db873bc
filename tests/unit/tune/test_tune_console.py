"""What the command prints before a search and when it ends."""

import re

import typer
from support.rendering import render
from support.tuning.results import made_tuning
from typer.testing import CliRunner

import nsecast
from common.pages.render import render as render_page
from tune.print_result import best_table, print_result
from tune.report.page import card_values


def test_a_search_announces_the_comparison_trials_at_its_start(tmp_path, monkeypatch, small_archive):
    def started(planned, effort, **_):
        trials.append(effort.trials)
        raise typer.Exit(0)

    trials: list[int] = []
    monkeypatch.setattr("tune.run.execute", started)
    command = ["tune", "--trials", "4", "--quick", "--home", str(tmp_path)]
    command += ["--archive", str(small_archive)]
    done = CliRunner().invoke(nsecast.app, command)
    assert done.exit_code == 0 and trials == [4], done.output
    assert "7 trials: 4 proposals and 3 for comparison" in done.stderr
    plan = CliRunner().invoke(nsecast.app, [*command, "--dry-run"])
    assert "4 proposals and 3 for comparison" in plan.stdout
    assert re.search(r"lstm_1 +16 to 128, log scale +50", plan.stdout)


def test_the_closing_lines_and_the_report_count_both_kinds(tmp_path, capsys):
    tuning = made_tuning()
    compared = int((tuning.trials["origin"] == "sweep").sum())
    kinds = f"{len(tuning.trials) - compared} proposals and {compared} for comparison"
    print_result(tuning, tmp_path, was_done=False, as_json=False)
    text = capsys.readouterr().out
    assert f"{len(tuning.trials)} trials ({kinds})" in text
    assert tuning.info["contest"]["sentence"] in text and tuning.info["embedding"]["because"] in text
    assert str(tmp_path / "report.html") in text and "nothing to do" not in text
    assert kinds in render_page("tune.report", "cards.html", **card_values(tuning))


def test_the_closing_lines_name_a_comparison_that_is_still_to_come(tmp_path, capsys):
    print_result(made_tuning(contest=None, embedding=None), tmp_path, was_done=True, as_json=False)
    text = capsys.readouterr().out
    assert "nothing to do" in text and "Not yet compared with the default on the test part" in text


def test_synthetic_data_are_labelled():
    assert "SYNTHETIC DATA" in render(best_table(made_tuning(source="synthetic seed=1")), width=160)
    assert "SYNTHETIC" not in render(best_table(made_tuning()), width=160)


def test_the_closing_table_has_the_best_five_and_the_default():
    tuning = made_tuning()
    text = render(best_table(tuning), width=160)
    rows = [line.split() for line in text.splitlines() if re.match(r"(\d|default)", line)]
    best = tuning.finished.head(5)
    assert [row[0] for row in rows] == [*map(str, best["trial"]), "default"]
    scores = [*best["score"], tuning.default_score]
    assert [row[1] for row in rows] == [f"{score:.4f}" for score in scores]
    assert rows[-1][2:] == ["10", "50", "50", "64", "0.2", "0.004", "60", "0", "-", "-"]
    nothing = render(best_table(made_tuning(3, fate="failed")), width=160)
    [only] = [line.split() for line in nothing.splitlines() if re.match(r"(\d|default)", line)]
    assert only[:2] == ["default", "-"]
