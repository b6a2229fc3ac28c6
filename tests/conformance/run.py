"""Run other people's tests against our store and retriever: `make conformance`.

    python tests/conformance/run.py [pytest arguments]

It fetches the sdist of langgraph-checkpoint-sqlite from PyPI into a temporary folder, checks its hash, and runs its
tests of stores there, unchanged, with `store_adapter` in the place of `langgraph.store.sqlite`. Then langchain-tests'
standard tests of a retriever. Needs the network and what the dependency group `conformance` lists. Prints one line of
JSON: {"passed", "failed", "deselected", "retriever_passed", "retriever_failed"}; ends with 1 if anything failed, or if
a deselected test does not exist.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = "langgraph-checkpoint-sqlite==3.1.2"
SHA256 = "4e3f376fa6f192d6ad2a1a4643b039986f1593552ef870e9e45281575de6fbf2"
FILES = ("__init__.py", "test_store.py", "test_async_store.py", "test_ttl.py")
PLUGINS = ("pytest_asyncio.plugin", "pytest_retry.retry_plugin")
INI = "[pytest]\nasyncio_mode = auto\n"
CONFTEST = "import store_adapter\n\nstore_adapter.install()\n"


def fetch(folder: Path) -> None:
    """Put their tests of stores into a folder. Raises `SystemExit` where PyPI gives another file."""
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", PACKAGE]
    subprocess.run([*download, "--dest", str(folder)], check=True)
    (archive,) = folder.glob("*.tar.gz")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{archive.name} is not the file that these tests were written for")
    (folder / "tests").mkdir()
    with tarfile.open(archive) as sdist:
        for name in FILES:
            member = sdist.extractfile(f"{archive.name.removesuffix('.tar.gz')}/tests/{name}")
            assert member is not None
            (folder / "tests" / name).write_bytes(member.read())


def pytest(folder: Path, *arguments: str) -> tuple[str, int]:
    """Run pytest in a folder with only the plugins that these tests need; return its output and exit status."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore"]
    for plugin in PLUGINS:
        command += ["-p", plugin]
    environment = {"PATH": "/usr/bin:/bin", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr, done.returncode


def count(output: str, word: str) -> int:
    """Return the number before a word in pytest's last line."""
    found = re.search(rf"(\d+) {word}", output.strip().splitlines()[-1])
    return int(found[1]) if found else 0


def main(arguments: list[str]) -> int:
    """Run both suites; the result is the exit status."""
    listed = tomllib.loads((HERE / "deselected.toml").read_text())["deselected"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fetch(folder)
        shutil.copy(HERE / "store_adapter.py", folder)
        shutil.copy(HERE / "check_retriever.py", folder)
        (folder / "conftest.py").write_text(CONFTEST)
        (folder / "pytest.ini").write_text(INI)
        there, _ = pytest(folder, "--collect-only", "tests")
        missing = [one["test"] for one in listed if one["test"] not in there]
        skip = [word for one in listed for word in ("--deselect", one["test"])]
        stores, status = pytest(folder, *skip, "tests", *arguments)
        standard, standard_status = pytest(folder, "check_retriever.py")
    for output, bad in ((stores, status), (standard, standard_status)):
        if bad:
            print(output)
    for name in missing:
        print(f"deselected.toml names a test that does not exist: {name}")
    result = {
        "passed": count(stores, "passed"),
        "failed": count(stores, "failed") + count(stores, "error"),
        "deselected": count(stores, "deselected"),
        "retriever_passed": count(standard, "passed"),
        "retriever_failed": count(standard, "failed") + count(standard, "error"),
    }
    print(json.dumps(result))
    return int(bool(status or standard_status or missing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
