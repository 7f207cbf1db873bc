"""The terminal output of a search while it runs and when it ends."""

import io
import re

import pytest
import typer
from support.machine.waiting import until
from support.rendering import Terminal, capable_terminal, render  # noqa: F401
from support.tuning.results import DEFAULT, made_tuning
from typer.testing import CliRunner

import nsecast
from common.pages.render import render as render_page
from train.progress.console import LiveTable
from tune.console import SearchLines, SearchView, best_table, overall, shown_trials
from tune.print_result import print_result
from tune.report.page import card_values
from tune.results import default_score, finished


def trial(number, state="waiting", **values):
    blank = dict.fromkeys(("fold", "epoch", "loss", "score", "eta_s", "reason")) | {"done": 0}
    return blank | {"trial": number, "origin": "search", "state": state, "parameters": DEFAULT} | values


def search_table(poll, **options) -> LiveTable:
    return LiveTable(poll, view=SearchView, lines=SearchLines(), **options)


def snapshot(*trials, **values):
    return {
        "search": "general-1a2b",
        "source": "archive",
        "model": "general",
        "state": "searching",
        "started": 1000.0,
        "concurrent": 2,
        "epochs_total": 18,
        "trials_total": 40,
        "trials_compared": 12,
        "trials_done": sum(item["state"] in ("done", "stopped", "failed") for item in trials),
        "best": None,
        "default_score": None,
        "eta_s": None,
        "trials": list(trials),
    } | values


RUNNING = trial(13, "running", fold=2, epoch=3, done=9, loss=1.7123, score=0.9733, eta_s=75.0)
ENDED = [trial(number, "done", score=0.99 - number / 1000, fold=3, epoch=6, done=18) for number in range(12)]


def test_the_live_view_shows_every_column_of_a_running_trial():
    text = render(SearchView(snapshot(RUNNING), 1010.0), width=140)
    [line] = [line for line in text.splitlines() if line.strip().startswith("13")]
    assert "emb 10 · lstm 50/50 · dense 64 · win 60" in line
    assert line.split()[-7:] == ["0.004", "2", "3", "1.7123", "0.9733", "running", "1:15"]


@pytest.mark.parametrize("width", [80, 100, 111])
def test_no_number_is_cut_on_an_ordinary_terminal(width):
    wide = {name: 128 for name in ("lstm_1", "lstm_2", "dense_units")} | {"learning_rate": 0.00342}
    running = RUNNING | {"parameters": DEFAULT | wide, "trial": 113, "origin": "sweep", "eta_s": 754.0}
    text = render(SearchView(snapshot(running), 1010.0), width=width)
    [line] = [line for line in text.splitlines() if "113" in line]
    assert line.split()[-12:] == [
        *("113", "10", "128/128", "128", "60", "0.00342", "2", "3", "1.7123", "0.9733", "running", "12:34")
    ]
    assert all(len(line) <= width for line in text.splitlines())


def test_the_best_score_is_shown_next_to_the_default_and_naive():
    best = {"trial": 7, "score": 0.9612, "parameters": DEFAULT}
    text = render(SearchView(snapshot(RUNNING, best=best, default_score=0.9653), 1010.0))
    assert "best 0.9612, default 0.9653, naive 1   trial 7: emb 10" in text
    assert "best -, default -, naive 1" in render(SearchView(snapshot(RUNNING), 1010.0))


def test_the_table_says_which_trials_are_for_comparison():
    for width in (60, 80, 140):
        text = render(SearchView(snapshot(RUNNING), 1010.0), width=width)
        assert "40 trials: 28 proposals and 12 for comparison" in text


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


def test_the_closing_line_and_the_report_count_both_kinds(tmp_path, capsys):
    tuning = made_tuning()
    compared = int((tuning.trials["origin"] == "sweep").sum())
    kinds = f"{len(tuning.trials) - compared} proposals and {compared} for comparison"
    print_result(tuning, tmp_path, was_done=False, as_json=False)
    assert f"{len(tuning.trials)} trials ({kinds})" in capsys.readouterr().out
    assert kinds in render_page("tune.report", "cards.html", **card_values(tuning))


def test_a_low_terminal_still_shows_running_trials_and_the_progress_bar():
    many = [trial(number, "done", score=0.9 + number / 1000, done=18) for number in range(30)]
    lines = render(SearchView(snapshot(*many, RUNNING, note=""), 1010.0), height=14).splitlines()
    assert len(lines) < 14 and any(line.strip().startswith("13 ") for line in lines)
    assert "30/40 trials" in lines[-1] and "elapsed" in lines[-1]


def test_running_trials_come_first_then_the_newest_failure_then_the_best():
    failures = [trial(50, "failed", reason="old"), trial(51, "failed", reason="new")]
    shown = shown_trials([*ENDED, *failures, trial(52, "stopped", score=0.9), RUNNING], 20)
    assert [item["trial"] for item in shown] == [13, 51, 11, 10, 9, 8, 7]
    assert [item["trial"] for item in shown_trials([*ENDED, RUNNING], 2)] == [13, 11]


def test_the_progress_bar_counts_running_trials_by_their_epochs():
    assert overall(snapshot(*ENDED, RUNNING)) == pytest.approx((12 + 9 / 18) / 40)
    assert overall(snapshot()) == 0 and overall(snapshot(state="done")) == 1
    assert overall({"trials": []}) == 0


def test_synthetic_data_are_labelled_in_every_view():
    run = snapshot(RUNNING, source="synthetic seed=1")
    for width in (60, 80, 140):
        assert "SYNTHETIC DATA" in render(SearchView(run, 1010.0), width=width)
    assert "SYNTHETIC DATA" in SearchLines().lines(run, 1010.0)[0]
    assert "SYNTHETIC DATA" in render(best_table(made_tuning(source="synthetic seed=1")), width=160)
    assert "SYNTHETIC" not in render(SearchView(snapshot(RUNNING), 1010.0))


def test_reasons_keep_their_brackets_and_lose_their_control_characters():
    failed = trial(3, "failed", reason="[b]no\x1b[2J\nrows")
    assert "failed [b]no?[2J rows" in render(SearchView(snapshot(failed), 1010.0), width=140)


def test_plain_lines_report_each_start_and_end_once():
    plain = SearchLines()
    first = plain.lines(snapshot(trial(1)), 1000.0)
    assert len(first) == 1 and "search=general-1a2b state=searching trials=0/40 compared=12" in first[0]
    [started] = plain.lines(snapshot(trial(1, "running")), 1001.0)
    assert "trial=1 state=running origin=search embedding_dim=10" in started and "score" not in started
    assert plain.lines(snapshot(trial(1, "running", epoch=2)), 1002.0) == []
    [failed] = plain.lines(snapshot(trial(1, "failed", reason="no rows")), 1003.0)
    assert "trial=1 state=failed" in failed and failed.endswith("reason='no rows'")
    [ended] = plain.lines(snapshot(trial(1, "failed"), state="done"), 1004.0)
    assert "state=done" in ended and "done=100%" in ended


def test_plain_lines_report_the_progress_every_ten_seconds():
    plain = SearchLines()
    lines = [plain.lines(snapshot(RUNNING), 1000.0 + second) for second in range(31)]
    shown = [second for second, news in enumerate(lines) if any("search=" in line for line in news)]
    assert shown == [0, 10, 20, 30] and sum(map(len, lines)) == 5


def test_the_live_table_draws_on_a_terminal_and_plainly_elsewhere():
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        with search_table(lambda: snapshot(RUNNING), interval_s=0.01, stream=stream):
            until(lambda stream=stream: "13" in stream.getvalue())
    assert "\x1b[?25h" in terminal.getvalue() and "general-1a2b" in terminal.getvalue()
    assert "\x1b" not in pipe.getvalue() and "trial=13 state=running" in pipe.getvalue()


def test_the_mode_can_be_chosen():
    stream = Terminal()
    with search_table(lambda: pytest.fail("polled"), mode="silent", stream=stream):
        pass
    assert stream.getvalue() == ""


@pytest.mark.parametrize("mode", ["live", "plain"])
def test_a_nonsensical_snapshot_does_not_end_the_block(mode):
    answers, stream, polled = iter([snapshot(RUNNING)]), Terminal(), []

    def poll():
        polled.append(next(answers, {"trials": 3}))
        return polled[-1]

    with search_table(poll, mode=mode, interval_s=0.01, stream=stream):
        until(lambda: len(polled) > 3)
    assert "13" in stream.getvalue()


def test_the_closing_table_has_the_best_five_and_the_default():
    tuning = made_tuning()
    text = render(best_table(tuning), width=160)
    rows = [line.split() for line in text.splitlines() if re.match(r"(\d|default)", line)]
    best = finished(tuning).head(5)
    assert [row[0] for row in rows] == [*map(str, best["trial"]), "default"]
    scores = [*best["score"], default_score(tuning)]
    assert [row[1] for row in rows] == [f"{score:.4f}" for score in scores]
    assert rows[-1][2:] == ["10", "50", "50", "64", "0.2", "0.004", "60", "0", "-", "-"]
    nothing = render(best_table(made_tuning(3, fate="failed")), width=160)
    [only] = [line.split() for line in nothing.splitlines() if re.match(r"(\d|default)", line)]
    assert only[:2] == ["default", "-"]
