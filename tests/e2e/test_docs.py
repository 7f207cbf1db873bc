"""The commands of the documentation, run as they stand there; what cannot be run is parsed, with a reason."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.docs import ROOT, blocks, commands, understood
from support.releases.release import doctored, made_exchange
from support.serving.server import serving
from typer.testing import CliRunner

import nsecast
from common.release.registry import Registry

pytestmark = pytest.mark.e2e
PARSED = {
    "data fetch": "needs the internet",
    "train": "takes minutes; the tutorial's is run",
    "retrain": "trains",
    "refresh": "needs a newer archive than the release has",
    "backtest": "trains rivals for minutes; the tutorial's is run without",
    "serve keys --home keys --revoke": "needs the id of a key that was made",
    "serve --": "serves until it is stopped",
    "serve status": "asks the server that `nsecast serve` started",
    "cluster": "starts a cluster of Ray",
    "monitor": "scores what a server has served for days",
    "receipt": "of a request of the reader's",
    "replay": "of a receipt of the reader's",
    "track-record": "scores what a server has served for days",
}
"""Beginnings of commands that are only held against the command's own parser, and why."""
OUTSIDE = {
    "kubectl": "a Kubernetes cluster",
    "helm": "a Kubernetes cluster",
    "docker": "a registry of images",
    "export": "an object store",
    "openssl": "makes the secrets of a cluster",
    "git": "the internet",
    ".": "the shell's own",
    "tr": "what openssl made",
    "umask": "the shell's own",
    "rm": "the shell's own",
    "less": "a person",
    "HEAD=": "a Kubernetes cluster",
    "pip": "the internet",
    "optuna-dashboard": "a package that is no dependency",
}
"""Programs of others, and what they would need."""
REFUSED = ("/api/v4/prices",)
"""Paths whose example is answered with 409: one stock alone is not a session."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_archive: Path) -> Iterator[tuple[Path, str]]:
    """A folder as a reader has it after training: a release in production, the archive; and a server."""
    folder = tmp_path_factory.mktemp("reader")
    doctored(made_exchange(folder / "nsecast-data", "exchange"), quick=True)  # its networks know nothing
    Registry(folder / "nsecast-data").promote("exchange")
    for log in ("served", "answers"):
        (folder / "nsecast-data" / log).mkdir()
    shutil.copytree(small_archive, folder / "nse-archive")
    with serving(folder / "nsecast-data") as url:
        yield folder, url


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Be where the reader is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("NSECAST_HOME", str(folder / "nsecast-data"))
        patch.setattr(webbrowser, "open", lambda url: None)
        yield


@pytest.fixture
def here(place: tuple[Path, str]) -> Iterator[tuple[Path, str]]:
    with reading(place[0]):
        yield place


@pytest.fixture(scope="module")
def operated(place: tuple[Path, str]) -> dict[str, int]:
    """How many commands of which kind the operations guide has; all of them have been followed."""
    with reading(place[0]):
        return follow("docs/operations.md", place[1])


def run_nsecast(words: list[str]) -> None:
    done = CliRunner().invoke(nsecast.app, words, catch_exceptions=True)
    assert done.exit_code == 0, f"nsecast {' '.join(words)}: {done.output[-2_000:]} {done.exception!r}"


def response_to(words: list[str], url: str) -> httpx.Response:
    """What a ``curl`` of the documentation gets, from the server of the test."""
    options = {"-H": [], "-d": [], "-X": []}
    address, rest = "", iter(words[1:])
    for word in rest:
        if word in options:
            options[word].append(next(rest))
        elif not word.startswith("-"):
            address = word
    path = re.sub(r"^(https?://)?(localhost:8000|HOST)", "", address)
    assert path.startswith("/"), address
    method = options["-X"][0] if options["-X"] else "POST" if options["-d"] else "GET"
    headers = dict(header.split(": ", 1) for header in options["-H"])
    content = options["-d"][0] if options["-d"] else None
    return httpx.request(method, url + path, headers=headers, content=content, timeout=60)


def follow(page: str, url: str) -> dict[str, int]:
    """Run every command of a page's shell blocks; how many of which kind there were."""
    counts = {"run": 0, "parsed": 0, "asked": 0, "outside": 0}
    for block in blocks(ROOT / page, "sh"):
        for words in commands(block.text):
            if words[0] == "kubectl" and "--" in words and words[words.index("--") + 1] == "nsecast":
                words = words[words.index("--") + 1 :]  # in a pod, on another's release
                assert not understood(words[1:]), words
                counts["parsed"] += 1
            elif words[0] == "nsecast":
                line = " ".join(words[1:])
                if line.startswith(tuple(PARSED)):
                    assert not understood(words[1:]), f"{line}: {understood(words[1:])}"
                    counts["parsed"] += 1
                else:
                    run_nsecast(words[1:])
                    counts["run"] += 1
            elif words[0] == "curl":
                answer = response_to(words, url)
                expected = 409 if answer.request.url.path in REFUSED else 200
                assert answer.status_code == expected, f"{words}: {answer.text}"
                counts["asked"] += 1
            elif words[0] == "make":
                assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
                counts["parsed"] += 1
            elif words[0] == "tar":
                subprocess.run([os.path.expandvars(word) for word in words], check=True)
                counts["run"] += 1
            else:
                assert words[0].startswith(tuple(OUTSIDE)), words
                assert all((ROOT / word).exists() for word in words if word.startswith("cluster/")), words
                counts["outside"] += 1
    return counts


def test_the_readme_can_be_followed(here):
    counts = follow("README.md", here[1])
    assert counts["run"] >= 4 and counts["asked"] >= 1 and counts["outside"] <= 1


def test_the_operations_guide_can_be_followed(operated):
    assert operated["run"] >= 5 and operated["parsed"] >= 8 and operated["asked"] >= 3


def test_every_example_of_the_api_is_answered(here):
    counts = follow("docs/http-api.md", here[1])
    assert counts == {"run": 0, "parsed": 0, "asked": counts["asked"], "outside": 0} and counts["asked"] >= 15


@pytest.mark.parametrize("page", ["README.md", "docs/troubleshooting.md"])
def test_the_python_of_a_page_runs(here, page):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in blocks(ROOT / page, "python"):
            exec(compile(block.text.replace("http://localhost:8000", here[1]), page, "exec"), {})
    assert ("SCOM" in printed.getvalue()) == (page == "README.md")


def test_the_backup_of_the_operations_guide_holds_the_release(operated, here):
    listing = subprocess.run(["tar", "-tzf", "backup.tgz"], capture_output=True, text=True, check=True).stdout
    assert "releases/exchange/manifest.json" in listing and "releases/aliases/production.json" in listing


def test_no_reason_is_given_for_a_command_that_is_not_there():
    lines = {
        " ".join(words)
        for page in ("README.md", "docs/operations.md", "docs/tutorial.md", "docs/http-api.md")
        for block in blocks(ROOT / page, "sh")
        for words in commands(block.text)
    }
    used = {line.removeprefix("nsecast ") for line in lines if line.startswith("nsecast ")}
    assert [start for start in PARSED if not any(line.startswith(start) for line in used)] == []
    assert [start for start in OUTSIDE if not any(line.startswith(start) for line in lines)] == []


def test_the_command_itself_starts(here):
    done = subprocess.run(
        [sys.executable, "-m", "nsecast", "--help"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "card" in done.stdout
