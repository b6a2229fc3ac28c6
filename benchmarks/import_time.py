"""How long `import mars` takes above bare Python, and whether it drags in anything heavy.

    python -m benchmarks.import_time

The two are run in turns, and the fastest run of each counts: what the machine does beside it only ever adds time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

FORBIDDEN = ("langgraph", "langchain_core", "chromadb", "sqlalchemy")
RUNS = 15


def seconds(code: str) -> float:
    """How long a new Python takes to run some code."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


def imported() -> list[str]:
    """The modules that `import mars` brings in, as -X importtime lists them."""
    command = [sys.executable, "-X", "importtime", "-c", "import mars"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stderr.splitlines()
    return [line.rsplit("|", 1)[1].strip() for line in lines if line.count("|") == 2]


def main() -> None:
    """Print the report as one line of JSON."""
    pairs = [(seconds("pass"), seconds("import mars")) for _ in range(RUNS)]
    bare, with_mars = (1000 * min(times) for times in zip(*pairs, strict=True))
    modules = imported()
    report = {
        "bare_ms": round(bare, 1),
        "mars_ms": round(with_mars, 1),
        "above_bare_ms": round(with_mars - bare, 1),
        "heavy": sorted({name.split(".")[0] for name in modules} & set(FORBIDDEN)),
        "modules": len(modules),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
