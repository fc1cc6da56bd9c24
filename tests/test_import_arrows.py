"""Imports point one way, slow libraries load late, and the start stays fast.

The rules live here as data; the checker is tested on a package that breaks every one of them.
"""

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "llmrec"

# Lower numbers may not import higher ones; packages on one level do not import each other.
LEVELS = {
    "__init__": 0,
    "errors": 0,
    "storage": 0,
    "resources": 0,
    "contracts": 0,
    "templates": 0,
    "validation": 0,
    "yaml_text": 0,
    "metric_direction": 0,
    "vllm_rooms": 0,
    "data": 1,
    "evaluation": 2,
    "training": 2,
    "adapters": 3,
    "retrieval": 3,
    "profiles": 3,
    "inference": 3,
    "recommenders": 4,
    "signatures": 4,
    "behavior": 4,
    "tiny_lm": 4,
    "runs": 5,
    "testing": 5,
    "cli": 6,
    "__main__": 7,
}
FOUNDATION = {name for name, level in LEVELS.items() if level == 0}
# Among the models of `recommenders`, these use another one; the rest keep to themselves.
SYSTEM_FRIENDS = {("sra_cl", "sasrec"), ("reclora", "ctr"), ("reclora", "llm_ranker")}
SYSTEMS = {"popularity", "item_knn", "sasrec", "sra_cl", "llm_ranker", "ctr", "reclora", "onerec"}

HEAVY = {
    "torch",
    "transformers",
    "sentence_transformers",
    "vllm",
    "accelerate",
    "peft",
    "datasets",
    "sklearn",
    "matplotlib",
    "faiss",
}
MAY_LOAD_HEAVY = (
    "training",
    "recommenders.sasrec",
    "recommenders.sra_cl",
    "recommenders.ctr",
    "recommenders.reclora",
    "recommenders.onerec",
    "recommenders.llm_ranker",
    "inference",
    "adapters",
    "retrieval",
    "signatures",
    "tiny_lm",
)
# recipes are checked against these
STAY_LIGHT = ("training.config", "tiny_lm.config", "recommenders.sasrec.config")


@dataclass(frozen=True)
class Import:
    """One import: dotted names from the package's root, or of another library."""

    module: str
    target: str
    line: int
    at_start: bool  # runs when the module is imported


def imports_of(root: Path) -> list[Import]:
    """Every import in a package, with relative ones made absolute."""
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = list(path.relative_to(root.parent).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node, at_start in _import_nodes(tree.body, True):
            targets = _targets(node, module, is_package, root)
            found += [Import(module, target, node.lineno, at_start) for target in targets]
    return found


def _import_nodes(body, at_start):
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_start
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _import_nodes(node.orelse, at_start)
            # annotations are dependencies too, only not at run time
            yield from _import_nodes(node.body, False)
            continue
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for field in ("body", "orelse", "finalbody", "handlers"):
            inner = getattr(node, field, None)
            if isinstance(inner, list):
                yield from _import_nodes(inner, at_start and not inside)


def _targets(node, module, is_package, root):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        package = module.split(".") if is_package else module.split(".")[:-1]
        base = ".".join([*package[: len(package) - node.level + 1], *base.split(".")]).strip(".")
    # "from llmrec import data" imports the module llmrec.data
    joined = [f"{base}.{alias.name}" for alias in node.names]
    is_module = [_exists(name, root) for name in joined]
    chosen = [name if there else base for name, there in zip(joined, is_module, strict=True)]
    return list(dict.fromkeys(chosen))


def _exists(name, root):
    path = root.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def part_of(name: str) -> str:
    """``llmrec.data.readers`` -> ``data``; the root itself is ``__init__``."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def wrong_arrows(imports: list[Import], root: str) -> list[str]:
    """Imports between packages that go up, sideways, or to a part nobody has placed."""
    wrong = []
    for found in imports:
        if found.target.split(".")[0] != root:
            continue
        source, target = part_of(found.module), part_of(found.target)
        # the root module only forwards lazily: `llmrec.load`
        lazy_root = source == "__init__" and not found.at_start
        if source == target or target == "__init__" or lazy_root:
            continue
        unknown = {source, target} - LEVELS.keys()
        if unknown:
            wrong.append(f"{found.module}:{found.line}: {unknown.pop()} has no level")
        elif {source, target} <= FOUNDATION:
            continue
        elif source == "contracts" and target in ("data", "inference") and not found.at_start:
            continue  # names of types only
        elif LEVELS[source] <= LEVELS[target]:
            wrong.append(f"{found.module}:{found.line}: {source} -> {target}")
    return wrong


def systems_that_mix(imports: list[Import], root: str) -> list[str]:
    """Models that import another model without being its friend."""
    wrong = []
    for found in imports:
        source, target = found.module.split("."), found.target.split(".")
        if len(source) < 3 or len(target) < 3 or target[0] != root:
            continue
        pair = (source[2].removeprefix("_"), target[2].removeprefix("_"))
        same_package = source[1] == target[1] == "recommenders"
        mixes = same_package and set(pair) <= SYSTEMS and pair[0] != pair[1]
        if mixes and pair not in SYSTEM_FRIENDS:
            wrong.append(f"{found.module}:{found.line}: {pair[0]} -> {pair[1]}")
    return wrong


def heavy_at_start(imports: list[Import], root: str) -> list[str]:
    """Slow libraries imported when a module that must stay light is imported."""

    def is_under(module: str, names: tuple[str, ...]) -> bool:
        return any(f"{module}.".startswith(f"{root}.{name}.") for name in names)

    return [
        f"{found.module}:{found.line}: {found.target}"
        for found in imports
        if found.at_start
        and found.target.split(".")[0] in HEAVY
        and (is_under(found.module, STAY_LIGHT) or not is_under(found.module, MAY_LOAD_HEAVY))
    ]


def cycles(imports: list[Import], root: str) -> list[str]:
    """Packages that reach themselves through others."""
    graph: dict[str, set[str]] = {}
    for found in imports:
        source, target = part_of(found.module), part_of(found.target)
        internal = found.target.split(".")[0] == root
        if internal and found.at_start and source != target and "__init__" not in (source, target):
            graph.setdefault(source, set()).add(target)
    reached = {name: _reach(graph, name) for name in graph}
    return sorted(name for name, others in reached.items() if name in others)


def _reach(graph, start):
    seen: set[str] = set()
    todo = list(graph.get(start, ()))
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(graph.get(name, ()))
    return seen


@pytest.fixture(scope="module")
def imports():
    return imports_of(ROOT)


def test_there_is_something_to_check(imports):
    assert {part_of(found.module) for found in imports} >= {"cli", "runs", "data"}
    assert any(found.target == "llmrec.errors" for found in imports)


def test_arrows_point_one_way(imports):
    assert wrong_arrows(imports, "llmrec") == []


def test_systems_do_not_import_each_other(imports):
    assert systems_that_mix(imports, "llmrec") == []


def test_packages_form_no_cycle(imports):
    assert cycles(imports, "llmrec") == []


def test_slow_libraries_load_late(imports):
    assert heavy_at_start(imports, "llmrec") == []


BAD_PACKAGE = {
    "__init__.py": "",
    "errors.py": "",
    "data/__init__.py": "from ..evaluation import harness\n",
    "data/misc.py": "import torch\n",
    "data/light.py": "def f():\n    import torch\n    return torch\n",
    "evaluation/__init__.py": "",
    "evaluation/harness.py": "from bad import data, training\nimport bad.recommenders.sasrec\n",
    "training/__init__.py": "from bad.errors import ConfigError\n",
    "training/config.py": "import torch\n",
    "training/trainer.py": "import torch\n",
    "recommenders/__init__.py": "",
    "recommenders/sasrec.py": "try:\n    import torch\nexcept ImportError:\n    pass\n",
    "recommenders/popularity.py": "def f():\n    from .sasrec import SASRec\n    return SASRec\n",
    "helpers.py": "from bad.data import misc\n",
}


@pytest.fixture
def bad(tmp_path):
    for name, text in BAD_PACKAGE.items():
        path = tmp_path / "bad" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return imports_of(tmp_path / "bad")


def test_checker_finds_every_wrong_arrow(bad):
    assert wrong_arrows(bad, "bad") == [
        "bad.data:1: data -> evaluation",
        "bad.evaluation.harness:1: evaluation -> training",
        "bad.evaluation.harness:2: evaluation -> recommenders",
        "bad.helpers:1: helpers has no level",
    ]


def test_checker_finds_mixed_systems_even_inside_functions(bad):
    assert systems_that_mix(bad, "bad") == ["bad.recommenders.popularity:2: popularity -> sasrec"]


def test_checker_finds_heavy_imports_and_lets_late_ones_pass(bad):
    assert heavy_at_start(bad, "bad") == [
        "bad.data.misc:1: torch",
        "bad.training.config:1: torch",
    ]


def test_checker_finds_the_cycle(bad):
    assert cycles(bad, "bad") == ["data", "evaluation"]


BIG = {"torch", "polars", "numpy", "transformers"}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        *(
            (name, BIG | {"pydantic", "yaml"})
            for name in ("llmrec", "llmrec.cli", "llmrec.cli.app")
        ),
        *((name, BIG) for name in ("llmrec.training.config", "llmrec.tiny_lm.config")),
    ],
)
def test_start_and_settings_load_nothing_heavy(module, heavy):
    code = f"import sys, {module}\nprint(*sorted({heavy!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
