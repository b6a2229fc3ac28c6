"""DBBench on SQLite and on a PostgreSQL cluster of its own, through the whole loop.

    python -m benchmarks.dbbench_databases [dev.jsonl] [--model mutated] [--limit 5]

Prints the report of `mars eval dbbench --json` for each database. The cluster is made in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import anyio

from mars.evaluation.dbbench import evaluate_dbbench
from tests import postgres

FILE = Path(__file__).resolve().parents[2] / "shared" / "data" / "dbbench" / "dev.jsonl"


async def compare(file: Path, model: str, limit: int | None, server: str) -> dict[str, object]:
    """Return the report of each database."""
    urls = {"sqlite": "sqlite:///:memory:", "postgresql": server}
    reports = {name: await evaluate_dbbench(file, model, database=url, limit=limit) for name, url in urls.items()}
    return {name: report.as_dict() for name, report in reports.items()}


def main() -> int:
    """Print the reports as one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", default=FILE, help="AgentBench's dev.jsonl")
    parser.add_argument("--model", default="oracle", help="oracle, mutated, builtin, or a chat model")
    parser.add_argument("--limit", type=int, help="at most so many changes and so many questions")
    chosen = parser.parse_args()
    if lacking := postgres.missing():
        print(lacking, file=sys.stderr)
        return 1
    with postgres.cluster() as server:
        print(json.dumps(anyio.run(compare, chosen.file, chosen.model, chosen.limit, server)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
