"""An honest baseline: untuned BM25 with neighbours on LoCoMo, in about 60 lines that share no code with MARS.

    python benchmarks/baseline_bm25.py locomo5.json --json

BM25 with textbook constants (k1 = 1.5, b = 0.75, Lucene's idf), Porter stems, stop words dropped from the question,
"date speaker: text caption image-query" as a document (the image query is more than MARS reads), and the terms of the
turns up to 3 places away added at .6, .3 and .15 before anything is counted. Nothing here was tuned on questions;
variants of it were tried and the best kept. Prints the JSON of `mars eval locomo --json`.
"""

import argparse
import json
import math
import re
import sys
import time
from collections import Counter, defaultdict
from typing import Any

import snowballstemmer

K1, B, NEIGHBOURS, CUTS = 1.5, 0.75, (1.0, 0.6, 0.3, 0.15), (5, 10, 20)
CATEGORIES = {1: "multi_hop", 2: "temporal", 3: "open_domain", 4: "single_hop", 5: "adversarial"}
STOP = """a about an and are as at be been being but by can could did do does doing for from had has have he her hers
him his how i if in into is it its me my of on or our she so some such than that the their them then there
these they this those to was we were what when where which who whom whose why will with would you your""".split()
stems: dict[str, str] = {}
stemmer = snowballstemmer.stemmer("porter")


def terms(text: str, drop: frozenset[str] = frozenset()) -> list[str]:
    found = [word for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in drop]
    return [stems.setdefault(word, stemmer.stemWord(word)) for word in found]


def rankings(turns: list[dict[str, Any]], questions: list[str]) -> list[list[str]]:
    """Return, for each question, the ids of all turns, best first."""
    fields = ("date", "speaker", "text", "blip_caption", "query")
    own = [Counter(terms(" ".join(turn.get(field) or "" for field in fields))) for turn in turns]
    near: list[dict[str, float]] = []
    for at in range(len(own)):
        bag: dict[str, float] = defaultdict(float)
        for other in range(max(0, at - 3), min(len(own), at + 4)):
            for term, count in own[other].items():
                bag[term] += NEIGHBOURS[abs(at - other)] * count
        near.append(bag)
    found = Counter(term for bag in near for term in bag)
    idf = {term: math.log(1 + (len(own) - n + 0.5) / (n + 0.5)) for term, n in found.items()}
    mean = sum(map(sum, (bag.values() for bag in near))) / len(near)
    norms = [K1 * (1 - B + B * sum(bag.values()) / mean) for bag in near]
    ranked = []
    for question in questions:
        asked = [term for term in terms(question, frozenset(STOP)) if term in idf]
        scores = [
            sum(idf[term] * bag[term] * (K1 + 1) / (bag[term] + norm) for term in asked if term in bag)
            for bag, norm in zip(near, norms, strict=True)
        ]
        ranked.append([turns[at]["dia_id"] for at in sorted(range(len(turns)), key=lambda at: -scores[at])])
    return ranked


def summary(rows: list[tuple[list[str], set[str]]]) -> dict[str, float]:
    """Return the means of R@5, R@10, R@20 and of the first evidence turn's reciprocal rank."""
    total = max(1, len(rows))
    result = {str(k): sum(len(gold & set(ids[:k])) / len(gold) for ids, gold in rows) / total for k in CUTS}
    return result | {"mrr": sum(1 / (1 + min(map(ids.index, gold))) for ids, gold in rows) / total}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of indented JSON")
    arguments = parser.parse_args()
    started, skipped = time.perf_counter(), 0
    by_category: dict[str, list[tuple[list[str], set[str]]]] = {name: [] for name in CATEGORIES.values()}
    with open(arguments.file, encoding="utf-8") as stream:
        conversations = json.load(stream)
    for sample in conversations:
        talk = sample["conversation"]
        sessions = sorted((k for k in talk if re.fullmatch(r"session_\d+", k)), key=lambda k: int(k.split("_")[1]))
        turns = [turn | {"date": talk[f"{key}_date_time"]} for key in sessions for turn in talk[key]]
        known = {turn["dia_id"] for turn in turns}
        for qa, ids in zip(sample["qa"], rankings(turns, [qa["question"] for qa in sample["qa"]]), strict=True):
            pairs = re.findall(r"D:?(\d+):(\d+)", " ".join(qa.get("evidence") or []))
            gold = {f"D{int(session)}:{int(turn)}" for session, turn in pairs} & known
            if gold:
                by_category[CATEGORIES[qa["category"]]].append((ids, gold))
            skipped += not gold
    everything = summary([row for rows in by_category.values() for row in rows])
    report = {
        "questions": sum(map(len, by_category.values())),
        "skipped": skipped,
        "recall": {str(k): everything[str(k)] for k in CUTS},
        "mrr": everything["mrr"],
        "by_category": {name: {"questions": len(rows)} | summary(rows) for name, rows in by_category.items()},
        "embedder": "none",
        "seconds": time.perf_counter() - started,
    }
    json.dump(report, sys.stdout, indent=None if arguments.json else 2)
    print()


if __name__ == "__main__":
    main()
