"""Our code as it is sent to other nodes: the packages only, no data, no environment."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("common", "train", "serve", "tune", "cluster")
ROOT = Path(__file__).resolve().parents[2]


def code_files(root: Path = ROOT) -> Iterator[Path]:
    """Yield every file of our packages in a fixed order."""
    if (root / "nsecast.py").exists():
        yield root / "nsecast.py"
    for package in sorted(PACKAGES):
        for path in sorted((root / package).rglob("*")):
            parts = path.relative_to(root).parts
            if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in parts):
                yield path


def digest(root: Path = ROOT) -> str:
    """Return a digest of the names and contents of all our code."""
    code = hashlib.sha256()
    for path in code_files(root):
        code.update(f"{path.relative_to(root).as_posix()}\0".encode())
        code.update(hashlib.sha256(path.read_bytes()).digest())
    return code.hexdigest()[:16]


def stage(folder: Path, root: Path = ROOT) -> None:
    """Copy our code to ``folder``, as a job's working directory."""
    for path in code_files(root):
        target = folder / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
