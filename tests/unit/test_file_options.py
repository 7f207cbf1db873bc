"""Every option that takes a file: what is missing, empty, binary or malformed is named in one line."""

import inspect
import json
import re
import sys
import typing
from collections.abc import Callable, Iterator
from importlib import import_module

import pytest
import typer

import nsecast
from common.errors import ConfigError
from serve.settings import ServeSettings, read_settings

GONE = "no-such-archive"
"""Ends a command at once whose file was accepted."""
READ = {
    ("train", "config"): ["--archive", GONE],
    ("train", "universe"): ["--archive", GONE],
    ("tune", "config"): ["--archive", GONE],
    ("tune", "universe"): ["--archive", GONE],
    ("tune", "space"): ["--archive", GONE],
    ("retrain", "config"): ["--archive", GONE],
    ("retrain", "universe"): ["--archive", GONE],
    ("monitor", "config"): [],
    ("track-record", "kept"): ["SCOM"],
    ("replay", "receipt"): [],
    ("data describe", "files"): [],
    ("serve", "keys"): ["--no-train"],
    ("serve", "settings"): ["--no-train"],
}
"""Each file that is read, by verb and parameter, with what else the command needs."""
WRITTEN = {
    *(("backtest", "out"), ("report", "out"), ("receipt", "out"), ("monitor", "prometheus")),
    ("data check", "rejects"),
}
ARGUMENTS = {("replay", "receipt"), ("data describe", "files")}
"""Files that are named without an option."""
MAY_BE_EMPTY = {"config", "space", "settings"}
"""An empty settings file changes nothing."""
CONTENTS = {
    "empty": b"",
    "binary": b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe\x00\x1b[2J",
    "binary text": b"\x01\x02\x1b[2J = \x07\n\x00",
    "malformed": b'{"keys": [\n= [unclosed\n',
    "deep": b"a = " + b"[" * 20_000,
    "deep JSON": b'{"a":' * 20_000,
    "a list": b"preset = [1]\nsectors = [1]\n",
    "another": b"colour = 'red'\n",
    "another JSON": b'{"colour": "red"}',
}


def callbacks() -> Iterator[tuple[str, Callable[..., object]]]:
    """Every function behind a verb, with the verb's words."""
    for verb, place in nsecast.COMMANDS.items():
        module, _, attribute = place.partition(":")
        result = getattr(import_module(module), attribute)
        if not isinstance(result, typer.Typer):
            yield verb, result
            continue
        assert not result.registered_groups, f"{verb}: look into its groups here"
        if result.registered_callback:
            yield verb, result.registered_callback.callback
        for command in result.registered_commands:
            yield f"{verb} {command.name or command.callback.__name__}", command.callback


def paths() -> Iterator[tuple[str, str, str]]:
    """Verb, parameter and metavar of whatever takes a path."""
    for verb, function in callbacks():
        hints = typing.get_type_hints(function, include_extras=True)
        for name in inspect.signature(function).parameters:
            hint = hints[name]
            metavar = next(
                (str(item.metavar) for item in getattr(hint, "__metadata__", ()) if item.metavar), ""
            )
            if "pathlib.Path" in repr(hint) or re.search(r"FILE|\.\w+$", metavar):
                yield verb, name, metavar


def test_every_option_that_takes_a_file_is_tried_here():
    files = {(verb, name) for verb, name, metavar in paths() if metavar != "DIR" and name != "home"}
    assert files == READ.keys() | WRITTEN
    assert len({verb for verb, name, _ in paths() if name == "home"}) > 15


def run(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Exit status of the command and what it wrote to stderr; a traceback fails the test."""
    monkeypatch.setattr(sys, "argv", ["nsecast", *words])
    monkeypatch.setattr(nsecast.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as stop:
        nsecast.main()
    return int(stop.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize("state", ["missing", "a folder", *CONTENTS])
@pytest.mark.parametrize(("verb", "name"), READ, ids=["-".join(item) for item in READ])
def test_a_file_that_is_no_good_is_named_in_one_line(verb, name, state, tmp_path, monkeypatch, capsys):
    path = tmp_path / "given.file"
    if state == "a folder":
        path.mkdir()
    elif state != "missing":
        path.write_bytes(CONTENTS[state])
    file = [str(path)] if (verb, name) in ARGUMENTS else [f"--{name}", str(path)]
    home = [] if verb == "data describe" else ["--home", str(tmp_path / "home")]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "receipt.json").write_text("{}")
    status, output = run([*verb.split(), *READ[verb, name], *file, *home], monkeypatch, capsys)
    assert status in (1, 2), output
    if state == "empty" and name in MAY_BE_EMPTY:
        assert path.name not in output
        return
    (line,) = output.strip().splitlines()
    assert line.startswith("error: ") and str(path) in line and line.isprintable()
    assert re.search(r"(\. [A-Z]|; |: ).*\.$", line.split(str(path))[1]), "it says no next step"
    assert "Errno" not in line


@pytest.mark.parametrize(
    "text",
    [
        "specific_max = 2\n[limits]\nbatch_symbols = 7\n",
        json.dumps({"specific_max": 2, "limits": {"batch_symbols": 7}}),
        json.dumps({"specific_max": 2, "limits": {"batch_symbols": 7}}, indent=1).replace("{", "\n {", 1),
    ],
    ids=["TOML", "JSON", "JSON on several lines"],
)
def test_settings_of_a_server_are_read_as_toml_and_as_json(tmp_path, text):
    path = tmp_path / "settings"
    path.write_text(text)
    assert read_settings(path) == {"specific_max": 2, "limits": {"batch_symbols": 7}}


def test_a_setting_that_the_server_does_not_have_is_named_with_the_file(tmp_path):
    path = tmp_path / "serve.toml"
    path.write_text("specifc_max = 2\n")
    with pytest.raises(ConfigError, match=r"serve\.toml: specifc_max: no such setting"):
        ServeSettings.parse(read_settings(path), where=str(path))
