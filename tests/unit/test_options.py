"""Options that belong to every verb of a kind are there, and mean the same everywhere."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from support.prices.archive import market, weekdays, write
from typer.testing import CliRunner

import nsecast
from common.options import root_option
from train.cli.data import app

WITHOUT_STORAGE_ROOT = {"data describe", "data fetch", "data market", "serve haproxy"}
"""Verbs that neither read nor write the storage root, only a folder that is named by an option."""
GROUPS = {"data", "cluster"}
"""Groups that do nothing without a verb."""


def verbs(command=None, path=()) -> Iterator[tuple[str, set[str]]]:
    """Every verb of the command with its options, groups too."""
    below = nsecast.Verbs() if command is None else getattr(command, "commands", {})
    if command is not None:
        yield " ".join(path), {word for option in command.params for word in getattr(option, "opts", ())}
    for name in below:
        yield from verbs(below[name], (*path, name))


VERBS = dict(verbs())


def test_the_walk_finds_verbs_at_every_depth():
    assert {"train", "data check", "models", "models verify", "serve", "serve keys", "cluster up"} <= set(
        VERBS
    )
    assert set(VERBS) >= set(nsecast.COMMANDS) and len(VERBS) >= 26


def test_every_verb_that_reads_or_writes_the_storage_root_takes_home():
    lacking = {name for name, options in VERBS.items() if "--home" not in options}
    assert lacking == WITHOUT_STORAGE_ROOT | GROUPS


def test_the_check_writes_its_ledger_below_the_storage_root_that_it_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("NSECAST_HOME", str(tmp_path / "elsewhere"))
    folder = write(tmp_path / "archive", market(weekdays("2023-03-06", 4)))
    done = CliRunner().invoke(app, ["check", "--archive", str(folder), "--home", str(tmp_path / "home")])
    assert done.exit_code == 0
    assert len(pd.read_csv(tmp_path / "home" / "checks" / "ledger.csv")) == 0
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("before", [True, False])
def test_a_storage_root_given_before_the_verb_of_a_group_holds_for_the_verb(tmp_path, monkeypatch, before):
    monkeypatch.setenv("NSECAST_HOME", str(tmp_path / "elsewhere"))
    home = ["--home", str(tmp_path / "home")]
    words = ["serve", *home, "keys"] if before else ["serve", "keys", *home]
    done = CliRunner().invoke(nsecast.app, [*words, "--add", "me"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "home" / "serve" / "keys.json").exists() and not (tmp_path / "elsewhere").exists()


def test_a_command_to_type_next_names_the_storage_root_that_was_given():
    assert root_option(Path("/my home/nse")) == " --home '/my home/nse'" and root_option(None) == ""
