"""Build sdist and wheel, and check what they hold.

    python tests/build_check.py dist [--offline]

The wheel built from the tree and the one built from the sdist must be equal, file by file. The wheel must hold every
module of the tree under `mars/` and nothing at the top level but `mars` and its metadata. `--offline` builds with the
setuptools of this environment instead of fetching one.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def expected_modules(root: Path = ROOT) -> set[str]:
    """The modules that the wheel must hold, as paths inside it, by the package list of pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    folders: dict[str, str] = project["tool"]["setuptools"]["package-dir"]
    modules = set()
    for package in project["tool"]["setuptools"]["packages"]:
        parts = package.split(".")
        wing = next(".".join(parts[:end]) for end in range(len(parts), 0, -1) if ".".join(parts[:end]) in folders)
        folder = root.joinpath(folders[wing], *parts[len(wing.split(".")) :])
        modules |= {"/".join([*parts, file.name]) for file in folder.glob("*.py")}
    return modules


def contents(wheel: Path) -> dict[str, bytes]:
    """What a wheel holds, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def complaints_about(wheel: dict[str, bytes], expected: set[str]) -> list[str]:
    """What is wrong with the files in a wheel; empty when all is well."""
    top = {name.split("/")[0] for name in wheel}
    extra_top = sorted(name for name in top if name != "mars" and not name.endswith(".dist-info"))
    modules = {name for name in wheel if name.endswith(".py")}
    found = [f"at the top level: {name}" for name in extra_top]
    found += [f"missing: {name}" for name in sorted(expected - modules)]
    found += [f"not in the tree: {name}" for name in sorted(modules - expected) if name.split("/")[0] == "mars"]
    found += [f"missing: {name}" for name in ("mars/py.typed",) if name not in wheel]
    found += [] if any(name.endswith("/licenses/LICENSE") for name in wheel) else ["missing: LICENSE"]
    return found


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """The names of the files in which two wheels differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def build(source: Path, target: Path, *options: str) -> None:
    """Run `python -m build` in a folder."""
    command = [sys.executable, "-m", "build", *options, "--outdir", str(target), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}")


def copy_tree(target: Path) -> Path:
    """Copy what a build needs, so that it leaves nothing behind in the tree; links stay links."""
    left_out = shutil.ignore_patterns(".*", "build", "dist", "out", "*.egg-info", "__pycache__", "results")
    shutil.copytree(ROOT, target, symlinks=True, ignore=left_out)
    return target


def main(arguments: list[str] | None = None) -> int:
    """Build into a folder; the result is 0 when every check passed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the sdist and the wheel go")
    parser.add_argument("--offline", action="store_true", help="build with this environment's setuptools")
    chosen = parser.parse_args(arguments)
    options = ["--no-isolation"] if chosen.offline else []
    shutil.rmtree(chosen.folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        source = copy_tree(Path(scratch, "source"))
        build(source, chosen.folder.resolve(), *options)  # the sdist, and the wheel from it
        build(source, Path(scratch, "direct"), "--wheel", *options)
        (from_sdist,) = chosen.folder.glob("*.whl")
        (direct,) = Path(scratch, "direct").glob("*.whl")
        wheel = contents(from_sdist)
        complaints = complaints_about(wheel, expected_modules())
        complaints += [f"differs between tree and sdist: {name}" for name in differences(wheel, contents(direct))]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    for file in sorted(chosen.folder.iterdir()):
        print(f"{file.name}: {file.stat().st_size / 1024:.0f} KiB")
    print(f"{len(wheel)} files in the wheel, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
