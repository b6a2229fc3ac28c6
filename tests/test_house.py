"""Rules of the house: what must hold of the repository as a whole."""

from __future__ import annotations

import ast
import importlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mars.errors import MissingExtra

ROOT = Path(__file__).resolve().parent.parent
WINGS = ("agents", "memory", "migrations")

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="needs the repository")


DISTRIBUTIONS = {"opentelemetry": "opentelemetry-api"}
"""Which distribution brings a package of another name."""


def project() -> dict[str, Any]:
    """The project file."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def sources(*folders: str) -> Iterator[Path]:
    """Every Python file under folders of the repository, links not followed."""
    for folder in folders:
        for path, names, files in os.walk(ROOT / folder):
            names[:] = [name for name in names if not name.startswith((".", "__pycache__")) and name != "results"]
            yield from (Path(path, file) for file in sorted(files) if file.endswith(".py"))


def relative(path: Path) -> str:
    """A path as seen from the root."""
    return path.relative_to(ROOT).as_posix()


PRODUCT = [*sources("mars", *WINGS)]
EVERYTHING = [*PRODUCT, *sources("tests", "benchmarks", "examples")]


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def wanted_packages(attempt: ast.Try) -> set[str]:
    """The distributions that a ``try`` imports, by ``import`` or `import_module`."""
    names = set[str]()
    for node in (inner for line in attempt.body for inner in ast.walk(line)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(str(node.module))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
            names |= {str(one.value) for one in node.args if isinstance(one, ast.Constant)}
    return {DISTRIBUTIONS.get(name, name).replace("_", "-") for name in (one.partition(".")[0] for one in names)}


def extras_raised(path: Path) -> Iterator[tuple[set[str], str]]:
    """The packages that a file asks for, each with the extra that its `MissingExtra` names."""
    for attempt in (node for node in ast.walk(parsed(path)) if isinstance(node, ast.Try)):
        for node in (inner for handler in attempt.handlers for inner in ast.walk(handler)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "MissingExtra":
                yield wanted_packages(attempt), ast.literal_eval(node.args[1])


def imported_names(path: Path) -> Iterator[str]:
    """The full name of everything that a file imports."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# The layout


def test_every_package_is_listed() -> None:
    """The package list of the project file equals the folders that hold modules."""
    folders = {path.parent.relative_to(ROOT) for path in PRODUCT}
    packages = {".".join(folder.parts if folder.parts[0] == "mars" else ("mars", *folder.parts)) for folder in folders}
    listed = project()["tool"]["setuptools"]["packages"]
    assert sorted(packages) == sorted(listed)
    assert listed == sorted(listed)


def test_every_package_has_an_init_file() -> None:
    """No folder with modules is a namespace package by accident."""
    assert [relative(path) for path in {path.parent for path in PRODUCT} if not (path / "__init__.py").exists()] == []


@pytest.mark.parametrize("wing", WINGS)
def test_links_are_relative_and_committed(wing: str) -> None:
    """`mars/<wing>` is a committed link to `../<wing>`, so that every tool sees one tree."""
    link = ROOT / "mars" / wing
    assert link.is_symlink()
    assert os.readlink(link) == f"../{wing}"
    listing = subprocess.run(
        ["git", "ls-files", "--stage", f"mars/{wing}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    assert listing.stdout.startswith("120000 ")


def test_the_wheel_holds_the_tree(tmp_path: Path) -> None:
    """The wheel, from the tree and from the sdist alike, holds every module under `mars` and nothing beside it."""
    command = [sys.executable, str(ROOT / "tests" / "build_check.py"), str(tmp_path / "dist"), "--offline"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_wrong_wheel_is_noticed() -> None:
    """The check of the wheel complains about a missing module, a foreign one and a top-level package."""
    check = runpy.run_path(str(ROOT / "tests" / "build_check.py"))
    expected = check["expected_modules"]()
    right = dict.fromkeys([*expected, "mars/py.typed", "mars_runtime-0.dist-info/licenses/LICENSE"], b"")
    assert check["complaints_about"](right, expected) == []
    wrong = {**right, "agents/__init__.py": b"", "mars/stray.py": b""}
    del wrong["mars/errors.py"]
    assert check["complaints_about"](wrong, expected) == [
        "at the top level: agents",
        "missing: mars/errors.py",
        "not in the tree: mars/stray.py",
    ]
    assert check["differences"](right, wrong) == ["agents/__init__.py", "mars/errors.py", "mars/stray.py"]


# Imports


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_every_module_can_be_imported(path: Path) -> None:
    """No module of the product is broken at import."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts if parts[0] == "mars" else ("mars", *parts)).removesuffix(".__init__")
    if name == "mars.migrations.env":
        pytest.skip("alembic runs it inside a migration")
    if name.endswith("__main__"):
        pytest.skip("it runs the command line")
    importlib.import_module(name)


# What no file may do


def test_no_file_has_an_empty_name() -> None:
    """A file is named after a noun of the field, not after its leftovers."""
    empty = ("utils", "util", "helpers", "helper", "common", "misc", "v2", "_v2", "_v3")
    bad = [relative(path) for path in EVERYTHING if path.stem in empty or path.stem.endswith(("_v2", "_v3", "_utils"))]
    assert bad == []


def test_every_module_has_a_docstring() -> None:
    """Each module says in a sentence what it is for."""
    missing = [relative(path) for path in EVERYTHING if path.read_bytes() and not ast.get_docstring(parsed(path))]
    assert missing == []


def test_every_test_says_what_must_hold() -> None:
    """Each test has a sentence."""
    missing = [
        f"{relative(path)}: {node.name}"
        for path in sources("tests")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert missing == []


def swallows(handler: ast.ExceptHandler) -> bool:
    """Whether a handler takes any exception and does nothing."""
    broad = handler.type is None or (isinstance(handler.type, ast.Name) and handler.type.id.endswith("Exception"))
    return broad and all(isinstance(statement, ast.Pass) for statement in handler.body)


def test_no_error_is_swallowed() -> None:
    """No handler takes every exception and passes."""
    bad = [
        f"{relative(path)}:{node.lineno}"
        for path in EVERYTHING
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ExceptHandler) and swallows(node)
    ]
    assert bad == []


def test_no_pickle() -> None:
    """Stored bytes never become code: nothing imports pickle or its relatives."""
    banned = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
    bad = [relative(path) for path in EVERYTHING if banned & {name.split(".")[0] for name in imported_names(path)}]
    assert bad == []


def test_no_mocks() -> None:
    """Tests use the doubles of `mars.testing`; nothing is mocked or patched."""
    banned = ("unittest.mock", "mock", "pytest_mock")
    bad = [
        f"{relative(path)}: {name}"
        for path in EVERYTHING
        for name in imported_names(path)
        if name in banned or name.startswith(tuple(f"{module}." for module in banned))
    ]
    patched = [
        f"{relative(path)}:{node.lineno}"
        for path in sources("tests")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "monkeypatch"
        and node.func.attr in {"setattr", "setitem", "delattr"}
    ]
    assert bad + patched == []


def test_tests_measure_no_speed() -> None:
    """A benchmark measures speed; a test never does."""
    clocks = {"time.perf_counter", "time.process_time", "timeit.timeit", "timeit.default_timer"}
    assert [relative(path) for path in sources("tests") if clocks & set(imported_names(path))] == []


def test_tests_of_benchmarks_need_the_repository() -> None:
    """A wheel holds no benchmarks: what tests them is skipped where only the wheel is."""
    bad = [
        relative(path)
        for path in sources("tests")
        if any(name.split(".")[0] == "benchmarks" for name in imported_names(path))
        and 'importorskip("benchmarks' not in path.read_text(encoding="utf-8")
    ]
    assert bad == []


def test_files_are_short() -> None:
    """No file of the product is over 400 lines."""
    long = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in PRODUCT}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


# The direction of imports


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter in a copy of the tree."""
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as c; c()"
    command = [sys.executable, "-c", code, "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what import-linter reads."""
    pytest.importorskip("importlinter")
    for folder in ("mars", *WINGS):
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("memory/records.py", "from mars.agents import verdicts"),
        ("agents/verdicts.py", "import sqlalchemy"),
        ("agents/verdicts.py", "from mars.memory import engine"),
        ("mars/models/reader.py", "from mars.memory import records"),
        ("mars/errors.py", "from mars.memory import records"),
        ("mars/state.py", "from mars import runtime"),
        ("mars/stray.py", '"""A module that no layer names."""'),
    ],
)
def test_a_bad_import_is_noticed(tree: Path, module: str, line: str) -> None:
    """One bad import breaks a contract."""
    with (tree / module).open("a") as file:
        file.write(f"\n{line}\n")
    result = lint_imports(tree)
    assert result.returncode != 0
    assert "BROKEN" in result.stdout or "stray" in result.stdout


def test_imports_point_one_way(tree: Path) -> None:
    """The tree as it is keeps every contract, in a copy as in place."""
    result = lint_imports(tree)
    assert result.returncode == 0, result.stdout + result.stderr


def test_hints_name_the_extra_that_brings_the_package() -> None:
    """Whoever lacks a package is told of an extra of this project that has it; every extra is told of somewhere."""
    name, extras = project()["project"]["name"], project()["project"]["optional-dependencies"]
    brought = {extra: {re.split(r"[\[<>=]", one)[0] for one in wanted} for extra, wanted in extras.items()}
    raised = [found for path in PRODUCT for found in extras_raised(path)]
    assert raised
    assert [(wanted, extra) for wanted, extra in raised if not wanted <= brought[extra]] == []
    assert {extra for _, extra in raised} == set(extras)
    assert str(MissingExtra("x", "sql")).endswith(f"pip install '{name}[sql]'")
    texts = [path.read_text("utf-8") for path in (*EVERYTHING, *(ROOT / "docs").rglob("*.md"), ROOT / "README.md")]
    hinted = {extra for text in texts for extra in re.findall(rf"{name}\[([a-z]+)\]", text)}
    assert hinted <= set(extras)
