"""Mutation testing: what can be altered in the code that matters without a unit test noticing.

    make mutants                                  every module: build/mutants/results.md
    python bench/mutants.py windows metrics       some of them
    python bench/mutants.py --again               only what survived the last time, or was not reached

cosmic-ray finds the places and makes each mutant, in a copy of the tree; this program runs the tests that
cover the module in a fork of a process that has the libraries loaded, the quickest first, up to the first
failure. A survivor is a test that is missing or an alteration that changes nothing; docs/results.md says
which are known.
"""

import argparse
import ast
import difflib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import machine

TREE = machine.ROOT / "build" / "mutants" / "tree"
COPIED = ("common", "train", "serve", "tune", "cluster", "bench", "tests", "nsecast.py", "pyproject.toml")
SEED, MOST = 7, 250
"""Of a module with more mutants than ``MOST``, a sample that this seed draws."""
NEVER_WARM = ("ray", "tensorflow", "keras", "obstore", "moto")
"""They start threads, which a fork does not survive."""
MODULES = {
    "representation": ("common/forecast/representation.py", "representation scaling"),
    "channels": ("common/network/channels.py", "representation scaling"),
    "level": ("common/forecast/log_price.py", "representation scaling"),
    "scaling": ("common/network/scaling.py", "scaling"),
    "windows": ("common/prices/windows.py", "windows representation"),
    "series": ("common/prices/series.py", "windows serve_requests"),
    "metrics": ("common/scoring/forecast_errors.py", "metrics"),
    "scores": ("train/run/scores.py", "scores"),
    "routing": ("serve/inference/routing.py", "serve_routing"),
    "registry": ("common/release/registry.py", "registry storage_registry"),
    "alias": ("common/release/alias.py", "registry storage_registry"),
    "release": ("common/release/manifest.py", "registry storage_registry"),
}
"""What is mutated, and the files ``test_*.py`` below ``tests/unit`` that cover it."""
SAFE_THREADS = {"jemalloc_bg_thd"}
"""Arrow's allocator minds forks."""
RELATIVES = {
    *("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Div", "Mod_Mul", "Pow_Mul"),
    *("BitAnd_BitOr", "BitOr_BitAnd", "BitXor_BitOr", "LShift_RShift", "RShift_LShift"),
    *("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is", "In_NotIn", "NotIn_In"),
    *("Lt_LtE", "Lt_Gt", "LtE_Lt", "LtE_GtE", "Gt_GtE", "Gt_Lt", "GtE_Gt", "GtE_LtE"),
}
"""Of the replacements of binary operators and comparisons those that are hardest to notice."""


@dataclass
class Mutant:
    """One alteration, and what became of it."""

    operator: str
    occurrence: int
    line: int
    diff: str = ""
    outcome: str = ""
    """``killed``, ``timeout`` (killed too: no end), ``survived`` or ``invalid`` (no Python)."""


def mutants_of(path: Path) -> list[Mutant]:
    """Every mutant in the order of the lines; none of annotations, of a bare ``*``, of ``frozen=True``."""
    from cosmic_ray.commands.init import _all_work_items

    source = path.read_text()
    lines, annotations = source.splitlines(), _annotations(ast.parse(source))
    results = []
    for item in _all_work_items([path], {}):
        [spec] = item.mutations
        family, _, kind = spec.operator_name.partition("_")
        usual = kind in RELATIVES or not family.endswith(("BinaryOperator", "ComparisonOperator"))
        line, column = spec.start_pos
        text = lines[line - 1]
        syntax = text[column:].startswith("*,") or ("frozen=True" in text and "True" in family)
        if usual and not syntax and not any(first <= (line, column) < last for first, last in annotations):
            results.append(Mutant(spec.operator_name, spec.occurrence, line))
    if len(results) > MOST:
        results = random.Random(SEED).sample(results, MOST)
    return sorted(results, key=lambda mutant: (mutant.line, mutant.operator, mutant.occurrence))


def _annotations(module: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where each begins and ends, as (line, column)."""
    nodes = [getattr(node, name, None) for node in ast.walk(module) for name in ("annotation", "returns")]
    return [
        ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)) for node in nodes if node
    ]


def mutated(mutant: Mutant, source: str) -> str:
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    code = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
    assert code is not None and code != source, mutant
    return str(code)


class Quickest:
    """A pytest plugin: tests in the order of how long they took, and how long they take."""

    def __init__(self, took: dict[str, float]) -> None:
        self.took = took

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: self.took.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.took[report.nodeid] = self.took.get(report.nodeid, 0.0) + report.duration


def tests_pass(tests: list[str], took: dict[str, float], limit_s: float) -> bool | None:
    """Whether the tests pass in a fork of this process; None if they did not end in time."""
    if (child := os.fork()) == 0:
        os.setsid()
        with open(TREE.parent / "last.log", "wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os._exit(_run_tests(tests, took))
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _run_tests(tests: list[str], took: dict[str, float]) -> int:
    import hypothesis
    import pytest

    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutants", phases=phases, database=None, derandomize=True)
    hypothesis.settings.load_profile("mutants")
    plugin = Quickest(dict(took))
    status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests], [plugin])
    if not took:
        loaded = [name for name, module in sys.modules.items() if "site-packages" in str(module)]
        (TREE.parent / "baseline.json").write_text(json.dumps({"took": plugin.took, "loaded": loaded}))
    return int(status)


def baseline(tests: list[str]) -> dict[str, float]:
    """Seconds by test of a run that must pass; afterwards the libraries it needed are loaded here."""
    if not tests_pass(tests, {}, 600):
        sys.exit(f"{' '.join(tests)} fail without a mutant:\n{(TREE.parent / 'last.log').read_text()}")
    payload = json.loads((TREE.parent / "baseline.json").read_text())
    for name in payload["loaded"]:
        if name.partition(".")[0] not in NEVER_WARM:
            importlib.import_module(name)
    threads = {task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")}
    assert len(threads - SAFE_THREADS) == 1, f"a fork would not survive the threads {threads}"
    took: dict[str, float] = payload["took"]
    return took


def judge(name: str, again: bool) -> None:
    """What became of each mutant of a module; kept in build/mutants/NAME.json as it goes."""
    relative, files = MODULES[name]
    path, record = TREE / relative, TREE.parent / f"{name}.json"
    source, tests = (
        path.read_text(),
        [str(next(Path("tests/unit").rglob(f"test_{file}.py"))) for file in files.split()],
    )
    again = again and record.exists()
    mutants = [Mutant(**item) for item in json.loads(record.read_text())] if again else mutants_of(path)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    began = time.monotonic()
    took = baseline(tests)
    limit_s = 3 * (time.monotonic() - began) + 10
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # a mutant's bytecode could be taken for the next one's
    sys.dont_write_bytecode = True
    for cached in path.parent.glob(f"__pycache__/{path.stem}.*"):
        cached.unlink()
    try:
        for mutant in mutants:
            if mutant.outcome not in ("", "survived"):
                continue
            code = mutated(mutant, source)
            if not _compiles(code):
                mutant.outcome = "invalid"
                continue
            path.write_text(code)
            lines = difflib.unified_diff(source.splitlines(), code.splitlines(), lineterm="", n=0)
            mutant.diff = "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))
            mutant.outcome = {True: "survived", False: "killed", None: "timeout"}[
                tests_pass(tests, took, limit_s)
            ]
            if mutant.outcome == "survived":
                print(
                    f"{relative}:{mutant.line} {mutant.operator.removeprefix('core/')}\n{mutant.diff}",
                    flush=True,
                )
            record.write_text(json.dumps([asdict(item) for item in mutants], indent=1))
    finally:
        path.write_text(source)


def _compiles(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description="Mutation testing of the modules that matter.")
    parser.add_argument("names", nargs="*", help=f"default: all of {', '.join(MODULES)}")
    parser.add_argument(
        "--again", action="store_true", help="only what survived the last time, or was not reached"
    )
    options = parser.parse_args()
    os.nice(15)
    header = machine.header(machine.facts())
    machine.use_one_core()
    shutil.rmtree(TREE, ignore_errors=True)
    for name in COPIED:
        copy = shutil.copytree if (machine.ROOT / name).is_dir() else shutil.copy
        TREE.mkdir(parents=True, exist_ok=True)
        copy(machine.ROOT / name, TREE / name)
    os.chdir(TREE)
    ours = (machine.ROOT, machine.ROOT / "bench")
    sys.path[:] = [str(TREE), *(path for path in sys.path if Path(path).absolute() not in ours)]
    os.environ["PYTHONPATH"] = str(TREE)
    for name in options.names or MODULES:
        judge(name, options.again)
        print(_row(name), flush=True)
    rows = ["| module | mutants | killed | survived | score |", "|---|---|---|---|---|"]
    rows += [_row(name) for name in MODULES if (TREE.parent / f"{name}.json").exists()]
    (TREE.parent / "results.md").write_text("\n".join([header, "", *rows, ""]))


def _row(name: str) -> str:
    outcomes = [item["outcome"] for item in json.loads((TREE.parent / f"{name}.json").read_text())]
    survived, valid = outcomes.count("survived"), len(outcomes) - outcomes.count("invalid")
    score = 100 * (1 - survived / valid)
    return f"| `{MODULES[name][0]}` | {valid} | {valid - survived} | {survived} | {score:.1f} % |"


if __name__ == "__main__":
    main()
