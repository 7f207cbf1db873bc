"""The parts of a night: how the split moves, what counts as damage, one at a time on a storage root."""

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.machine.processes import running
from support.prices.panel import made_panel
from support.releases.release import made_release

from common import storage
from common.errors import ArchiveError, ConfigError
from common.presets import PRESETS, SplitSpec
from common.prices.changes import TOLERANCE, compare_panels, refuse_damage
from common.prices.panel import Panel
from common.release.lock import hold_lock
from train.nightly.nightly_record import NightlyRecord
from train.nightly.split import MINIMUM_TEST, move_split, next_settings

SESSIONS = pd.bdate_range("2020-01-01", periods=600).to_numpy().astype("datetime64[D]")
PANEL = made_panel(90)


def borders(train: int, valid: int, last: int) -> dict[str, str]:
    """Production's, by the numbers of sessions up to each."""
    names = ("train_end", "valid_end", "test_end")
    return {name: str(SESSIONS[count - 1]) for name, count in zip(names, (train, valid, last), strict=True)}


@given(st.integers(50, 300), st.integers(1, 60), st.integers(1, 120), st.integers(1, 100))
def test_the_split_moves_on_by_whole_sessions_and_its_later_parts_keep_their_length(
    train, valid, test, added
):
    ends = borders(train, train + valid, train + valid + test)
    sessions = SESSIONS[: train + valid + test + added]
    if len(sessions) - max(test, MINIMUM_TEST) - valid < 1:
        return
    split = move_split(SplitSpec(), ends, sessions)
    days = pd.DatetimeIndex(sessions)
    in_test = (days > pd.Timestamp(split.valid_end)).sum()
    in_valid = ((days > pd.Timestamp(split.train_end)) & (days <= pd.Timestamp(split.valid_end))).sum()
    assert in_test == max(test, MINIMUM_TEST) and in_valid == valid
    assert (days <= pd.Timestamp(split.train_end)).sum() == len(days) - in_test - in_valid


def test_without_a_new_session_the_split_stays_as_it_was_written():
    assert move_split(SplitSpec(), borders(400, 450, 600), SESSIONS) == SplitSpec()


def test_borders_that_are_no_sessions_count_as_the_session_before():
    weekend = {"train_end": "2021-06-05", "valid_end": "2021-08-07", "test_end": str(SESSIONS[499])}
    friday = weekend | {"train_end": "2021-06-04", "valid_end": "2021-08-06"}
    assert move_split(SplitSpec(), weekend, SESSIONS) == move_split(SplitSpec(), friday, SESSIONS)


def test_too_few_sessions_for_a_test_part_are_refused():
    with pytest.raises(ConfigError, match=r"80 sessions are too few .* a test of 60"):
        move_split(SplitSpec(), borders(10, 70, 75), SESSIONS[:80])


def test_without_production_the_preset_and_the_settings_given_count():
    assert next_settings(None, {}) == PRESETS["residual"]
    assert next_settings(None, {"preset": "v4_log", "seed": 3}).preset == "v4_log"
    with pytest.raises(ConfigError, match="no_such"):
        next_settings(None, {"no_such": 1})


def test_productions_settings_are_kept_but_for_what_is_given(tmp_path):
    production = made_release(tmp_path)
    kept = next_settings(production, {})
    stored = json.loads(production.file("config.json").read_bytes())
    assert kept.model_dump(mode="json") == stored and kept.finetune is None
    changed = next_settings(production, {"network": {"dropout": 0.1}})
    assert changed == kept.model_copy(update={"network": kept.network.model_copy(update={"dropout": 0.1})})
    assert next_settings(production, {"split": {"valid_share": 0.15}}).split == SplitSpec(valid_share=0.15)
    assert next_settings(production, {"preset": "v4_log"}) == PRESETS["v4_log"]


def without(panel: Panel, gone: pd.Series) -> Panel:
    return Panel.from_frame(panel.frame[~gone], panel.source)


def test_what_is_new_is_counted_by_session_and_row():
    before = PANEL.as_of(PANEL.dates[-11])
    found = compare_panels(before, PANEL)
    rows = PANEL.frame
    assert found["new_sessions"] == 10
    assert found["new_rows"] == (rows["date"] > before.dates[-1]).sum()
    assert found["last_before"] == f"{before.dates[-1]:%Y-%m-%d}"
    assert (found["rows_lost"], found["sessions_lost"]) == (0, 0)
    refuse_damage(before, PANEL, found, "old")


def test_one_lost_session_is_damage_though_others_were_added():
    before = PANEL.as_of(PANEL.dates[-11])
    now = without(PANEL, PANEL.frame["date"] == PANEL.dates[5])
    with pytest.raises(
        ArchiveError, match=rf"1 of the 80 sessions .*\(old\).* {PANEL.dates[5]:%Y-%m-%d} the first"
    ):
        refuse_damage(before, now, compare_panels(before, now), "old")


@pytest.mark.parametrize(("excess", "refused"), [(0, False), (1, True)])
def test_up_to_one_in_a_hundred_closes_may_be_corrected(excess, refused):
    count = int(TOLERANCE * len(PANEL.frame)) + excess
    frame = PANEL.frame.copy()
    frame.loc[frame.index[:: len(frame) // count][:count], "close"] *= 1.01
    now = Panel.from_frame(frame, PANEL.source)
    found = compare_panels(PANEL, now)
    assert found["rows_changed"] == count
    if refused:
        with pytest.raises(ArchiveError, match="have another close"):
            refuse_damage(PANEL, now, found, "old")
    else:
        refuse_damage(PANEL, now, found, "old")


def test_a_second_holder_is_told_who_holds_the_lock_and_since_when(tmp_path):
    lock = tmp_path / "home" / "retrains" / ".lock"
    assert not storage.is_locked(lock)
    before = datetime.now(UTC).replace(microsecond=0)
    with hold_lock(lock):
        assert storage.is_locked(lock)
        with (
            pytest.raises(
                ConfigError, match=rf"process {os.getpid()} on {os.uname().nodename} since "
            ) as refused,
            hold_lock(lock),
        ):
            pass
        since = datetime.fromisoformat(refused.value.message.split("since ")[1].split(". ")[0])
        assert before <= since <= datetime.now(UTC) and "--wait 30m" in refused.value.message
    assert not storage.is_locked(lock)


def test_who_waits_takes_over_when_the_holder_lets_go(tmp_path):
    lock, said = tmp_path / "retrains" / ".lock", []
    ready, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with hold_lock(lock):
            ready.set()
            let_go.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert ready.wait(60)

    def announce(text: str) -> None:
        said.append(text)
        let_go.set()

    with hold_lock(lock, wait_s=300, announce=announce):
        assert let_go.is_set()
    holder.join()
    assert len(said) == 1 and said[0].startswith(f"waiting for process {os.getpid()} on ")
    with hold_lock(lock), pytest.raises(ConfigError, match="after 1 s"), hold_lock(lock, wait_s=1):
        pass


def test_a_killed_holder_lets_go(tmp_path):
    lock = tmp_path / "retrains" / ".lock"
    code = (
        "import sys, time; from pathlib import Path; from common.release.lock import hold_lock\n"
        "with hold_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    root = Path(__file__).resolve().parents[4]
    command = [sys.executable, "-c", code, str(lock)]
    with running(command, cwd=root, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"process {holder.pid} "), hold_lock(lock):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with hold_lock(lock):
            pass


def test_a_step_that_is_stopped_says_so_in_the_record(tmp_path):
    record = NightlyRecord.new(tmp_path, archive=None, production=None)
    with pytest.raises(KeyboardInterrupt), record.step("ingest"):
        raise KeyboardInterrupt
    stored = json.loads((record.folder / "record.json").read_text())
    assert stored["state"] == stored["steps"]["ingest"]["state"] == "interrupted"
    with record.step("ingest") as decision:
        decision["share"] = float("nan")
    stored = json.loads((record.folder / "record.json").read_text())
    assert stored["steps"]["ingest"]["decision"] == {"share": None}
