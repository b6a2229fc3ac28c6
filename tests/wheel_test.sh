#!/bin/sh
# Install the built wheel into a clean environment and run the fast tests against it, from an empty directory.
#   sh tests/wheel_test.sh PYTHON DIST [pytest arguments]
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=$1
dist=$(cd "$2" && pwd)
shift 2

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m venv "$scratch/venv"
pip="$scratch/venv/bin/python -m pip --disable-pip-version-check -qq"
$pip install --upgrade 'pip>=25.1'
$pip install --group "$root/pyproject.toml:test" "$dist"/*.whl

mkdir "$scratch/empty"
cp -R "$root/tests" "$scratch/empty/tests"
find "$scratch/empty" -name __pycache__ -type d -prune -exec rm -rf {} +
cd "$scratch/empty"
# The settings of pytest come from the project file; nothing else of the tree is in reach.
MARS_WHEEL=1 "$scratch/venv/bin/python" tests/offline.py -- "$scratch/venv/bin/python" -m pytest \
  -c "$root/pyproject.toml" --rootdir="$scratch/empty" -p no:cacheprovider -m wheel "$@" tests
