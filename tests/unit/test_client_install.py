"""The client works where only the wheel and its declared dependencies are installed."""

import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
CALL = """
import json, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from serve.client import AsyncClient, Client
from serve.nixtla import to_nixtla
from serve.schemas.examples import ANSWER

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.handle_request, daemon=True).start()
answer = Client(f"http://127.0.0.1:{server.server_port}").predict("SCOM", "5d")
print(answer.symbol, answer.prediction)
try:
    print(to_nixtla(answer).to_dict("records"))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    sources = tmp_path_factory.mktemp("sources")
    for name in ("common", "train", "tune", "serve", "cluster"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "nsecast.py"):
        shutil.copy(ROOT / name, sources)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "."], cwd=sources, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (built,) = sources.glob("nsecast-*.whl")
    return built


def installed_with(wheel: Path, folder: Path, *extras: str) -> Path:
    """A folder with the wheel, the packages that it requires with these extras, and nothing else."""
    shutil.unpack_archive(wheel, folder, "zip")
    (metadata,) = folder.glob("nsecast-*.dist-info/METADATA")
    lines = metadata.read_text().split("\n\n")[0].splitlines()
    wanted = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    pending, linked = [(item, {"", *extras}) for item in wanted], set()
    while pending:
        requirement, chosen = Requirement(pending[0][0]), pending.pop(0)[1]
        marker = requirement.marker
        if requirement.name in linked or not (
            marker is None or any(marker.evaluate({"extra": extra}) for extra in chosen)
        ):
            continue
        linked.add(requirement.name)
        package = distribution(requirement.name)
        for name in {file.parts[0] for file in package.files or () if ".." not in file.parts}:
            if not (folder / name).exists() and name != "__pycache__":
                (folder / name).symlink_to(package.locate_file(name))
        pending += [(item, {"", *requirement.extras}) for item in package.requires or ()]
    return folder


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter without site-packages, but with ``folder``."""
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"
    command = [sys.executable, "-I", "-S", "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_the_client_needs_neither_ray_nor_tensorflow_nor_numpy(wheel, tmp_path):
    folder = installed_with(wheel, tmp_path)
    for name in ("ray", "tensorflow", "keras", "numpy", "pandas", "obstore"):
        assert (
            not (folder / name).exists()
            and f"No module named '{name}'" in run(folder, f"import {name}").stderr
        )
    done = run(folder, CALL)
    assert done.stdout.splitlines() == [
        "SCOM 18.0",
        "ConfigError to_nixtla needs pandas: pip install 'nsecast[frames]'.",
    ], done.stderr


def test_with_frames_the_client_returns_them(wheel, tmp_path):
    folder = installed_with(wheel, tmp_path, "frames")
    assert (folder / "pandas").exists() and not (folder / "ray").exists()
    done = run(folder, CALL)
    assert "'unique_id': 'SCOM'" in done.stdout and "'nsecast-lo-90': 16.37" in done.stdout, done.stderr


def test_the_command_says_what_to_install(wheel, tmp_path):
    folder = installed_with(wheel, tmp_path)
    done = run(folder, "import nsecast; nsecast.main()")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "pip install 'nsecast[all]'" in done.stderr
