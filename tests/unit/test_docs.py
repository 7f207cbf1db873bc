"""What the documentation says is there: links, paths, commands, error messages, endpoints."""

import ast
import re
from pathlib import Path

import pytest
from support.docs import PAGES, ROOT, blocks, commands, prose, understood
from support.prices.market import ONE_FILE_EACH, SYMBOLS, UNIVERSE

from common.archive.action_table import load_actions
from common.config import read_toml
from serve.ingress.api_reference import api_markdown
from serve.ingress.app import openapi_description

LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:common|train|serve|tune|cluster|tests|bench|docs)/[\w./-]*)`")
COMMAND = re.compile(r"`(nsecast [^`\n]+)`")
ENTRY = re.compile(r"\*\*`([^`]+)`\*\*")
ROOMS = ("common", "train", "serve", "tune", "cluster")
SOURCES = [ROOT / "nsecast.py", *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
ELSEWHERE = {"serve/keys.json", "serve/logs/", "train/backtest.py", "train/matrix.py"}
"""Below the storage root, or documented as removed."""
INCOMPLETE = ("MissingParameter", "NoArgsIsHelpError", "BadOptionUsage")
"""The error for a command without its required options, as sentences name it."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in LINK.findall(prose(page)):
        if target.startswith(("http:", "https:")):
            continue
        file, _, anchor = target.partition("#")
        other = (page.parent / file) if file else page
        assert other.exists(), target
        titles = re.findall(r"^#+ (.*)$", prose(other), re.MULTILINE) if anchor else []
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not anchor or anchor in anchors, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_of_the_code_that_is_named_is_there(page):
    missing = [path for path in {*PATH.findall(prose(page))} - ELSEWHERE if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_named_in_a_sentence_is_understood(page):
    results = [span.replace("\\|", "|").split()[1:] for span in COMMAND.findall(prose(page))]
    wrong = {" ".join(words): message for words in results if (message := understood(words))}
    assert {words: item for words, item in wrong.items() if not item.startswith(INCOMPLETE)} == {}


WRONG = ("trian", "train --qiuck", "data check", "predict --horizon 7d", "models promte X", "serve --prot 1")


@pytest.mark.parametrize("line", WRONG)
def test_a_command_that_is_wrong_would_be_noticed(line):
    assert understood(line.split())


def literals(path: Path) -> list[str]:
    """Every text of a module, with ``\\0`` for what is filled in."""
    results = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
            results.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            results.append(node.value)
    return results


def test_every_message_in_troubleshooting_is_one_that_the_code_says():
    texts = [text for path in SOURCES for text in literals(path)]
    entries = ENTRY.findall((ROOT / "docs" / "troubleshooting.md").read_text())
    assert len(entries) > 30 and len(set(entries)) == len(entries)
    for entry in entries:
        fixed = [re.escape(part.strip()) for part in entry.split("...") if part.strip(" .:;,")]
        form = re.compile(".*".join(fixed), re.DOTALL)
        assert fixed and any(form.search(text) for text in texts), entry


def test_the_api_reference_names_each_value_of_a_field_once():
    lines = [
        line for line in api_markdown(openapi_description()).splitlines() if line.startswith("| `horizon`")
    ]
    assert any("`5`, `5d`, `5D`, `10`" in line for line in lines)
    assert not any("`1`, `1`" in line for line in lines)


def test_the_api_reference_equals_the_openapi_description():
    reference = api_markdown(openapi_description())
    assert reference == (ROOT / "docs" / "http-api.md").read_text(), (
        "run: python -m serve.ingress > docs/http-api.md"
    )


def test_every_endpoint_has_its_section_with_an_example():
    page, paths = (ROOT / "docs" / "http-api.md").read_text(), openapi_description()["paths"]
    for path, methods in paths.items():
        for method in methods:
            section = page.split(f"\n## {method.upper()} {path}\n")[1].split("\n## ")[0]
            assert "```sh\ncurl -s" in section and "Response: " in section


def test_the_tutorials_files_are_the_ones_that_the_reader_is_tested_with(tmp_path):
    columns, actions, universe = blocks(ROOT / "docs" / "tutorial.md", "toml")
    for text, expected in ((columns.text, ONE_FILE_EACH), (universe.text, UNIVERSE)):
        (tmp_path / "one.toml").write_text(text)
        (tmp_path / "other.toml").write_text(expected)
        assert read_toml(tmp_path / "one.toml") == read_toml(tmp_path / "other.toml")
    (tmp_path / "corporate_actions.toml").write_text(actions.text)
    (action,) = load_actions(tmp_path, shipped=False)
    assert action.symbol in SYMBOLS


def test_a_reader_of_the_readme_runs_something_by_line_25():
    start = (ROOT / "README.md").read_text().split("\n## ")[0].splitlines()[:25]
    assert {"make train", "make test"} <= {line.split("  ")[0].strip() for line in start}


def test_a_shell_block_is_taken_apart_as_a_shell_would():
    text = "make a && nsecast b 'c d'  # why\nx | less\ncat <<'END'\nnot me\nEND\nlong \\\n  one\n"
    assert list(commands(text)) == [
        ["make", "a"],
        ["nsecast", "b", "c d"],
        ["x"],
        ["less"],
        ["cat"],
        ["long", "one"],
    ]
