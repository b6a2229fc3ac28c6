"""Evidence recall on LoCoMo: MARS beside an untuned BM25, over the same file in the same run.

    python -m benchmarks.locomo_vs_baseline [locomo5.json]

`difference` is MARS minus the baseline. `asked` is every question of the file, with or without usable evidence.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.commands import LOCOMO, run

BASELINE = Path(__file__).with_name("baseline_bm25.py")


def main() -> None:
    """Print the report as one line of JSON."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else LOCOMO
    ours = run("eval", "locomo", file)
    line = [sys.executable, str(BASELINE), str(file), "--json"]
    baseline: dict[str, Any] = json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
    report = {
        "mars": ours,
        "baseline": baseline,
        "difference": {k: ours["recall"][k] - baseline["recall"][k] for k in ours["recall"]},
        "asked": ours["questions"] + ours["skipped"],
        "same_questions": ours["questions"] == baseline["questions"],
        "adversarial_apart": ours["by_category"]["adversarial"]["questions"],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
