"""Run other people's tests against our store, saver and retriever: `make conformance`.

    python tests/conformance/run.py [pytest arguments]

It fetches the sdist of langgraph-checkpoint-sqlite from PyPI into a temporary folder, checks its hash, and runs its
tests of stores there, unchanged, with `store_adapter` in the place of `langgraph.store.sqlite`, and its tests of delta
channels with `saver_adapter` in the place of `langgraph.checkpoint.sqlite`. Then langgraph-checkpoint-conformance on
our saver, and langchain-tests' standard tests of a retriever. Savers run on SQLite and on a private PostgreSQL. Needs
the network, PostgreSQL's server binaries, and what the dependency group `conformance` lists.

Prints one line of JSON: {"passed", "failed", "deselected"} for stores, {"retriever_passed", "retriever_failed"},
{"saver_databases", "saver_capabilities", "saver_passed", "saver_failed", "saver_skipped", "saver_tests",
"saver_sabotage"} (capabilities detected and passed on every database; failed and skipped tests on any; capabilities
that fail on a spoilt saver) and {"delta_passed", "delta_failed", "delta_deselected"}. Ends with 1 if anything failed,
or if a deselected test does not exist.
"""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGE = "langgraph-checkpoint-sqlite==3.1.2"
SHA256 = "4e3f376fa6f192d6ad2a1a4643b039986f1593552ef870e9e45281575de6fbf2"
STORES = ("__init__.py", "test_store.py", "test_async_store.py", "test_ttl.py")
DELTAS = (
    "__init__.py",
    "test_conformance_delta.py",
    "test_get_delta_channel_history.py",
    "test_delta_parent_walk.py",
    "test_delta_channel_migration.py",
)
OURS = ("store_adapter.py", "saver_adapter.py", "delta_spec.py", "check_saver.py", "check_retriever.py")
PLUGINS = ("pytest_asyncio.plugin", "pytest_retry.retry_plugin")
INI = "[pytest]\nasyncio_mode = auto\n"
CONFTEST = "import {0}\n\n{0}.install()\n"
POSTGRES = runpy.run_path(str(HERE.parent / "postgres.py"))


def fetch(folder: Path) -> None:
    """Put their tests into the folders `stores` and `deltas`. Raises `SystemExit` where PyPI gives another file."""
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", PACKAGE]
    subprocess.run([*download, "--dest", str(folder)], check=True)
    (archive,) = folder.glob("*.tar.gz")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{archive.name} is not the file that these tests were written for")
    for suite, files in (("stores", STORES), ("deltas", DELTAS)):
        (folder / suite / "tests").mkdir(parents=True)
        with tarfile.open(archive) as sdist:
            for name in files:
                member = sdist.extractfile(f"{archive.name.removesuffix('.tar.gz')}/tests/{name}")
                assert member is not None
                (folder / suite / "tests" / name).write_bytes(member.read())
    for suite, adapter in (("stores", "store_adapter"), ("deltas", "saver_adapter")):
        for name in OURS:
            shutil.copy(HERE / name, folder / suite)
        (folder / suite / "conftest.py").write_text(CONFTEST.format(adapter))
        (folder / suite / "pytest.ini").write_text(INI)


def environment(folder: Path, url: str) -> dict[str, str]:
    """Return the environment of a child: nothing of ours but where to import from and what to run on."""
    return {
        "PATH": "/usr/bin:/bin",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": str(folder),
        "MARS_CONFORMANCE_URL": url,
    }


def pytest(folder: Path, *arguments: str, url: str = "") -> tuple[str, int]:
    """Run pytest in a folder with only the plugins that these tests need; return its output and exit status."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore"]
    for plugin in PLUGINS:
        command += ["-p", plugin]
    return run([*command, *arguments], folder, url)


def run(command: list[str], folder: Path, url: str) -> tuple[str, int]:
    """Run a command in a folder; return its output and exit status."""
    done = subprocess.run(
        command, cwd=folder, env=environment(folder, url), capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr, done.returncode


def count(output: str, word: str) -> int:
    """Return the number before a word in pytest's last line."""
    found = re.search(rf"(\d+) {word}", output.strip().splitlines()[-1])
    return int(found[1]) if found else 0


def shown(output: str, status: int) -> str:
    """Print the output of what failed, and return it."""
    if status:
        print(output)
    return output


def skipping(folder: Path, suite: str) -> tuple[list[str], list[str]]:
    """Return pytest's arguments that leave out what `deselected.toml` lists for a suite, and what does not exist."""
    listed = [one for one in tomllib.loads((HERE / "deselected.toml").read_text())["deselected"]]
    mine = [one["test"] for one in listed if one.get("suite", "stores") == suite]
    there, _ = pytest(folder / suite, "--collect-only", "tests")
    return [word for test in mine for word in ("--deselect", test)], [test for test in mine if test not in there]


def run_stores(folder: Path, arguments: list[str]) -> tuple[dict[str, int], bool]:
    """Run the tests of stores and of a retriever; return the counts, and whether all is well."""
    skip, missing = skipping(folder, "stores")
    stores, status = pytest(folder / "stores", *skip, "tests", *arguments)
    standard, standard_status = pytest(folder / "stores", "check_retriever.py")
    shown(stores, status)
    shown(standard, standard_status)
    for name in missing:
        print(f"deselected.toml names a test that does not exist: {name}")
    result = {
        "passed": count(stores, "passed"),
        "failed": count(stores, "failed") + count(stores, "error"),
        "deselected": count(stores, "deselected"),
        "retriever_passed": count(standard, "passed"),
        "retriever_failed": count(standard, "failed") + count(standard, "error"),
    }
    return result, not (status or standard_status or missing)


def run_savers(folder: Path, urls: list[str]) -> tuple[dict[str, int], bool]:
    """Run the tests of savers on every database; return the counts, and whether all is well."""
    skip, missing = skipping(folder, "deltas")
    for name in missing:
        print(f"deselected.toml names a test that does not exist: {name}")
    found: list[dict[str, Any]] = []
    deltas: list[str] = []
    well = not missing
    for url in urls:
        output, status = run([sys.executable, "check_saver.py"], folder / "deltas", url)
        shown(output, status)
        found.append(json.loads(output.strip().splitlines()[-1]))
        for words in found[-1]["failures"]:
            print(words)
        output, delta_status = pytest(folder / "deltas", *skip, "tests", url=url)
        deltas.append(shown(output, delta_status))
        well = well and not (status or delta_status or found[-1]["failed"] or found[-1]["skipped"])
    result = {
        "saver_databases": len(urls),
        **{f"saver_{key}": min(one[key] for one in found) for key in ("capabilities", "passed", "tests", "sabotage")},
        **{f"saver_{key}": sum(one[key] for one in found) for key in ("failed", "skipped")},
        "delta_passed": sum(count(output, "passed") for output in deltas),
        "delta_failed": sum(count(output, "failed") + count(output, "error") for output in deltas),
        "delta_deselected": sum(count(output, "deselected") for output in deltas),
    }
    return result, well


@contextmanager
def databases(folder: Path) -> Iterator[list[str]]:
    """Make an empty database of each kind; yield their URLs. Without PostgreSQL, say so and yield one."""
    urls = [f"sqlite:///{folder / 'saver.db'}"]
    reason = POSTGRES["missing"]()
    if reason:
        print(reason)
        yield urls
        return
    with POSTGRES["cluster"]() as server, POSTGRES["database"](server, "saver") as url:
        yield [*urls, url]


def main(arguments: list[str]) -> int:
    """Run all suites; the result is the exit status."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fetch(folder)
        stores, stores_well = run_stores(folder, arguments)
        with databases(folder) as urls:
            savers, savers_well = run_savers(folder, urls)
    print(json.dumps(stores | savers))
    return int(not (stores_well and savers_well))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
