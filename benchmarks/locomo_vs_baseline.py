"""Evidence recall on LoCoMo: MARS beside an untuned BM25, over the same questions in the same run.

    python -m benchmarks.locomo_vs_baseline [locomo5.json] [--embedder FOLDER] [--decay]

`difference` is MARS minus the baseline, `difference_interval` its 95 % bootstrap interval by conversation, paired by
question; `multi_hop` says the same of the multi-hop questions at 10, beside the R@10 of both. `asked` is every question
of the file, with or without usable evidence. With `--decay` each turn is stored at its own time and asked at the end,
and `decay_costs` is what that loses at 10.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.baseline_bm25 import rankings
from benchmarks.commands import LOCOMO, run
from mars.evaluation.locomo import CUTS, Answered, LocomoReport, evaluate_locomo, paired
from mars.ingest.locomo import conversations
from mars.memory.interfaces import Embedder

BASELINE = Path(__file__).with_name("baseline_bm25.py")


def baseline_answers(file: Path) -> list[Answered]:
    """What the baseline recalls for each question that has evidence, in the order of the file."""
    raw = {sample["sample_id"]: sample["conversation"] for sample in json.loads(file.read_text(encoding="utf-8"))}
    answered = []
    for sample in conversations(file):
        talk = raw[sample.id]
        sessions = sorted((key for key in talk if key[8:].isdecimal()), key=lambda key: int(key[8:]))
        turns = [turn | {"date": talk[f"{key}_date_time"]} for key in sessions for turn in talk[key]]
        asked = [question for question in sample.questions if question.evidence]
        found = rankings(turns, [question.text for question in asked])
        answered += [Answered(sample.id, one, tuple(ids)) for one, ids in zip(asked, found, strict=True)]
    return answered


def compared(ours: LocomoReport, theirs: list[Answered]) -> dict[str, Any]:
    """Differences of all questions at each cut, and of the multi-hop ones at 10."""
    at = {k: paired(ours.answered, theirs, k) for k in CUTS}
    hops = [one for one in theirs if one.question.category == "multi_hop"]
    multi = paired(ours.by_category["multi_hop"], hops)
    return {
        "difference": {str(k): found["mean"] for k, found in at.items()},
        "difference_interval": {str(k): {name: found[name] for name in ("low", "high")} for k, found in at.items()},
        "difference_by_conversation": at[10]["by_conversation"],
        "multi_hop": {
            "recall": sum(one.recall(10) for one in ours.by_category["multi_hop"]) / max(1, len(hops)),
            "baseline": sum(one.recall(10) for one in hops) / max(1, len(hops)),
            "difference": multi["mean"],
            "low": multi["low"],
            "high": multi["high"],
            "questions": len(hops),
        },
    }


def embedder_in(folder: str | None) -> Embedder | None:
    """The embedder in a folder of weights; the built-in one if there is none."""
    if folder is None:
        return None
    from mars.memory.minilm import MiniLMEmbedder

    return MiniLMEmbedder(folder)


def main() -> None:
    """Print the report as one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=LOCOMO)
    parser.add_argument("--embedder", help="a folder of MiniLM-class weights; a $NAME is a variable that holds it")
    parser.add_argument("--decay", action="store_true", help="measure what forgetting costs too")
    chosen = parser.parse_args()
    folder = os.path.expandvars(chosen.embedder) if chosen.embedder else None
    line = [sys.executable, str(BASELINE), str(chosen.file), "--json"]
    baseline: dict[str, Any] = json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
    ours, theirs = evaluate_locomo(chosen.file, embedder=embedder_in(folder)), baseline_answers(chosen.file)
    figures = run("eval", "locomo", chosen.file) if folder is None else ours.as_dict()
    report = {
        "mars": figures,
        "baseline": baseline,
        **compared(ours, theirs),
        "asked": figures["questions"] + figures["skipped"],
        "same_questions": figures["questions"] == baseline["questions"] == len(theirs),
        "same_figures": all(
            abs(found - sum(one.recall(int(k)) for one in asked) / len(asked)) < 1e-9
            for recalls, asked in ((baseline["recall"], theirs), (figures["recall"], ours.answered))
            for k, found in recalls.items()
        ),
        "adversarial_apart": figures["by_category"]["adversarial"]["questions"],
    }
    if chosen.decay:
        decayed = evaluate_locomo(chosen.file, embedder=embedder_in(folder), decay=True)
        report["decay_costs"] = -paired(decayed.answered, ours.answered)["mean"]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
