import io
import re
import threading

import pytest
from rich.console import Console
from support.machine.waiting import until
from support.rendering import Terminal, capable_terminal, render  # noqa: F401

from train.progress.console import LiveTable, display_mode, result_table, runs_table
from train.progress.snapshot import PlainLines, RunView, format_duration, overall


def job(name, state="waiting", **values):
    return {"job": name, "state": state, "epochs": 40, "work_done": 0.0, "work_total": 10.0} | values


def snapshot(*jobs, **values):
    return {
        "run": "run-7",
        "source": "archive",
        "preset": "residual",
        "started": 1000.0,
        "workers": 2,
        "state": "training",
        "jobs": list(jobs),
    } | values


RUNNING = job(
    "SCOM",
    "running",
    phase="seed 1/2",
    worker=1,
    epoch=12,
    loss=0.01234,
    mae=0.987,
    val_loss=0.5,
    best_epoch=9,
    eta_s=75.0,
    work_done=5.0,
)


def test_the_live_view_shows_every_column_of_a_running_job():
    text = render(RunView(snapshot(RUNNING), now=1010.0))
    [line] = [line for line in text.splitlines() if line.startswith("SCOM")]
    assert line.split() == [
        "SCOM",
        "1",
        "running",
        "seed",
        "1/2",
        "12/40",
        "0.0123",
        "0.9870",
        "0.5000",
        "9",
        "1:15",
    ]
    assert "50%" in text and "0/1 jobs" in text and "ETA 10s" in text


def test_every_view_names_synthetic_data():
    run = snapshot(RUNNING, source="synthetic seed 7")
    for width in (60, 80, 120):
        assert "SYNTHETIC DATA" in render(RunView(run, now=1010.0), width=width)
    assert "SYNTHETIC DATA" in render(result_table([], source="synthetic"))
    assert "SYNTHETIC DATA" in PlainLines().lines(run, 1010.0)[0]
    assert "SYNTHETIC" in render(runs_table([{"id": "run-7", "source": "synthetic"}]))
    assert "SYNTHETIC" not in render(RunView(snapshot(RUNNING), now=1010.0))


def test_reasons_keep_their_brackets_and_lose_their_control_characters():
    failed = job("KCB", "failed", reason="[bold]no\x1b[2J\nrows[/bold]")
    text = render(RunView(snapshot(failed), now=1010.0))
    assert "[bold]no?[2J rows[/bold]" in text


def test_a_small_terminal_keeps_the_running_jobs_and_the_bar():
    jobs = [job(f"J{i:02}", "done", work_done=10.0) for i in range(40)] + [RUNNING]
    lines = render(RunView(snapshot(*jobs), now=1010.0), height=20).splitlines()
    assert len(lines) < 20
    assert any(line.startswith("SCOM") for line in lines)
    assert any("more jobs" in line for line in lines) and "40/41 jobs" in lines[-1]


@pytest.mark.parametrize("width", [80, 100])
def test_no_number_is_cut_on_an_ordinary_terminal(width):
    wide = RUNNING | {
        "job": "general",
        "epoch": 100,
        "epochs": 100,
        "eta_s": 3700.0,
        "phase": "a long phase name",
    }
    text = render(RunView(snapshot(wide), now=1010.0), width=width)
    assert all(part in text for part in ("100/100", "0.0123", "0.9870", "0.5000", "1:01:40"))


def test_the_overall_eta_ignores_skipped_jobs_and_resumed_work():
    jobs = [
        job("A", "running", work_done=8.0, work_resumed=3.0),
        job("B"),
        job("C", "skipped", work_total=500.0),
    ]
    fraction, eta = overall(snapshot(*jobs), now=1010.0)
    assert fraction == pytest.approx(8 / 20)
    assert eta == pytest.approx(12 / (5 / 10))
    assert overall(snapshot(), now=1010.0) == (0.0, None)


def test_the_pace_leaves_out_the_time_before_the_first_epoch():
    jobs = [job("A", "running", work_done=8.0, work_resumed=3.0)]
    begun = snapshot(*jobs) | {"pace": {"since": 1006.0, "work": 6.0}}
    assert overall(begun, now=1010.0)[1] == pytest.approx((10 - 8) / (2 / 4))
    assert overall(begun | {"pace": {"since": 1010.0, "work": 8.0}}, now=1010.0)[1] is None


def test_durations_are_short():
    assert [format_duration(s) for s in (None, float("nan"), 0, 59, 187, 3727)] == [
        "-",
        "-",
        "0s",
        "59s",
        "3:07",
        "1:02:07",
    ]


def test_plain_lines_contain_each_change_of_state_once():
    plain = PlainLines()
    first = plain.lines(snapshot(job("SCOM"), job("KCB")), 1000.0)
    assert len(first) == 1 and "run=run-7 state=training" in first[0]
    [started] = plain.lines(snapshot(RUNNING, job("KCB")), 1001.0)
    assert "job=SCOM state=running worker=1 phase='seed 1/2' epoch=12/40" in started
    assert "mae=0.9870" in started
    assert plain.lines(snapshot(RUNNING, job("KCB")), 1002.0) == []
    [failed] = plain.lines(snapshot(RUNNING, job("KCB", "failed", reason="no rows")), 1003.0)
    assert "job=KCB state=failed reason='no rows'" in failed
    last = plain.lines(snapshot(RUNNING | {"state": "done"}, state="done"), 1004.0)
    assert ["job=SCOM" in last[0], "state=done" in last[1]] == [True, True]


def test_plain_lines_contain_the_progress_of_a_job_every_ten_seconds_at_most():
    plain = PlainLines()
    lines = [plain.lines(snapshot(RUNNING | {"epoch": second}), 1000.0 + second) for second in range(31)]
    assert [second for second, news in enumerate(lines) if any("job=SCOM" in line for line in news)] == [
        0,
        10,
        20,
        30,
    ]


@pytest.mark.parametrize("variable, value", [("NO_COLOR", "1"), ("CI", "true"), ("TERM", "dumb")])
def test_the_environment_can_ask_for_plain_lines_on_a_terminal(monkeypatch, variable, value):
    assert display_mode(Terminal()) == "live"
    assert display_mode(io.StringIO()) == "plain"
    monkeypatch.setenv(variable, value)
    assert display_mode(Terminal()) == "plain"


def test_the_live_table_draws_on_a_terminal_and_restores_the_cursor():
    stream = Terminal()
    with (
        pytest.raises(KeyboardInterrupt),
        LiveTable(lambda: snapshot(RUNNING), interval_s=0.01, stream=stream),
    ):
        until(lambda: "SCOM" in stream.getvalue())
        raise KeyboardInterrupt
    text = stream.getvalue()
    assert "SCOM" in text and "run-7" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_a_failing_poll_leaves_the_last_snapshot_on_the_screen():
    answers = iter([snapshot(RUNNING)])
    stream = Terminal()
    with LiveTable(lambda: next(answers), interval_s=0.01, stream=stream):
        until(lambda: "StopIteration" in stream.getvalue())
    text = stream.getvalue()
    assert "no news for" in text and "StopIteration" in text
    assert "SCOM" in text[text.rindex("no news for") - 1500 :]


def test_a_hanging_poll_does_not_delay_the_end_of_the_block(monkeypatch):
    monkeypatch.setattr("train.progress.console._JOIN_S", 0.05)
    release = threading.Event()
    with LiveTable(release.wait, stream=Terminal()):
        pass
    release.set()


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_a_nonsensical_snapshot_does_not_end_the_block(stream):
    answers, polled = iter([snapshot(RUNNING)]), []

    def poll():
        polled.append(next(answers, {"jobs": 3}))
        return polled[-1]

    with LiveTable(poll, interval_s=0.01, stream=stream):
        until(lambda: len(polled) > 3)
    assert "SCOM" in stream.getvalue()


def test_the_last_snapshot_is_always_written():
    stream, states = io.StringIO(), ["training"]
    with LiveTable(lambda: snapshot(state=states[0]), interval_s=600, stream=stream):
        until(lambda: "state=training" in stream.getvalue())
        states[0] = "done"
    assert "state=done" in stream.getvalue().splitlines()[-1]
    assert "\x1b" not in stream.getvalue()


def test_the_silent_table_neither_polls_nor_writes():
    stream = Terminal()
    with LiveTable(lambda: pytest.fail("polled"), stream=stream, mode="silent"):
        pass
    assert stream.getvalue() == ""


ROWS = [
    {"job": "general", "model": "general", "n": 1000, "mae_kes": 9.0, "naive_mae_kes": 9.0, "rel_mae": 1.0},
    {"job": "SCOM", "model": "fine-tuned", "n": 100, "mae_kes": 0.3, "naive_mae_kes": 0.4, "rel_mae": 0.75},
    {"job": "KCB", "model": "scratch", "n": 300, "mae_kes": 1.1, "naive_mae_kes": 1.0, "rel_mae": 1.1},
    {"job": "KPLC", "model": "skipped", "state": "skipped", "reason": "412 of 600 days"},
    {"job": "pooled", "n": 7, "rel_mae": 0.5, "rel_rmse": 0.6},
]


def test_the_result_table_ends_with_the_pooled_errors_and_the_reasons():
    *_, pooled, reason = filter(
        None, map(str.split, render(result_table(ROWS, source="archive")).splitlines())
    )
    assert pooled == ["pooled", "-", "7", "-", "-", "0.500", "0.600"]
    assert " ".join(reason) == "KPLC: 412 of 600 days"


def test_beating_naive_is_green_and_losing_to_it_red():
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system="standard")
    console.print(result_table(ROWS[1:3], source="archive"))
    text = console.file.getvalue()
    assert re.search(r"\x1b\[32m *0\.750", text) and re.search(r"\x1b\[31m *1\.100", text)
