"""`mars eval checker`: right answers and their changes, with Checkers that must look worse."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mars.agents.checking import review_output
from mars.agents.evidence import AnswerabilityModel, examine
from mars.agents.interfaces import Review, Task
from mars.agents.roles import Checker
from mars.agents.verdicts import Check
from mars.agents.verifiers import CallableVerifier, NumericVerifier
from mars.evaluation.answers import evaluate_answers
from mars.evaluation.checker import always_approve, evaluate_checker
from mars.evaluation.perturbations import KINDS, content, perturbed
from mars.ingest.locomo import LocomoConversation, conversations

LOCOMO = Path(__file__).resolve().parents[3] / "shared" / "data" / "locomo" / "locomo5.json"
CANARY = "zanzibarquux"

SAID = [
    ("Ann", "I adopted three cats from the shelter yesterday.", "How many cats did Ann adopt?", "three"),
    ("Bob", "I started a pottery class in March 2023.", "When did Bob start a pottery class?", "March 2023"),
    ("Ann", "My favourite painting shows a harbour at dawn.", "What does Ann's favourite painting show?", "a harbour"),
    ("Bob", "I baked a lemon tart for my neighbour.", "What did Bob bake for his neighbour?", "a lemon tart"),
]


def small_file(folder: Path, mark: str = "") -> Path:
    """Write a file of two samples; `mark` is put into every reference."""
    turns = [{"speaker": who, "dia_id": f"D1:{n}", "text": text} for n, (who, text, _, _) in enumerate(SAID, 1)]
    asked = [
        {"question": question, "answer": f"{answer} {mark}".strip(), "evidence": [f"D1:{n}"], "category": 4}
        for n, (_, _, question, answer) in enumerate(SAID, 1)
    ]
    wrong: list[dict[str, Any]] = [
        {"question": "What did Ann bake?", "adversarial_answer": f"a tart {mark}", "evidence": ["D1:4"], "category": 5}
    ]
    talk = {"speaker_a": "Ann", "speaker_b": "Bob", "session_1_date_time": "1:56 pm on 8 May, 2023", "session_1": turns}
    samples = [{"sample_id": name, "conversation": talk, "qa": asked + wrong} for name in ("one", "two")]
    path = folder / "small.json"
    path.write_text(json.dumps(samples), "utf-8")
    return path


@pytest.fixture(scope="module")
def samples() -> list[LocomoConversation]:
    if not LOCOMO.exists():
        pytest.skip("LoCoMo is not here: put locomo5.json into ../shared/data/locomo beside the repository")
    return conversations(LOCOMO)


def test_the_report_has_its_keys_and_tells_checkers_apart(tmp_path: Path) -> None:
    """On plain sentences right answers pass and wrong ones do not; who always approves rejects nothing."""
    report = evaluate_checker(small_file(tmp_path)).as_dict()
    assert report.keys() >= {"accept_gold", "abstain", "reject", "baselines", "curve", "drafts", "recalled"}
    assert report["reject"].keys() == set(KINDS)
    assert report["accept_gold"] >= 0.75
    assert min(report["reject"][kind] for kind in ("swap", "number", "date", "negation")) >= 0.75
    assert report["baselines"]["always_approve"] == {
        "accept_gold": 1.0,
        "abstain": 0.0,
        "reject": dict.fromkeys(KINDS, 0.0) | {"stale": report["baselines"]["always_approve"]["reject"]["stale"]},
    }
    assert json.loads(json.dumps(report)) == report


def test_a_checker_that_always_approves_shows(tmp_path: Path) -> None:
    """The sabotaged Checker accepts everything and rejects nothing."""
    report = evaluate_checker(small_file(tmp_path), check=always_approve).as_dict()
    assert report["accept_gold"] == 1.0
    assert report["reject"]["swap"] == report["reject"]["negation"] == 0.0


def test_the_same_file_gives_the_same_drafts(samples: list[LocomoConversation]) -> None:
    """Changes are drawn from a seed; another seed draws others."""
    sample = samples[0]
    asked = [one for one in sample.questions if one.answer and one.evidence][:40]
    first = [perturbed("swap", sample, one) for one in asked]
    assert first == [perturbed("swap", sample, one) for one in asked]
    assert first != [perturbed("swap", sample, one, seed=1) for one in asked]


@pytest.mark.data
def test_a_wrong_draft_is_wrong(samples: list[LocomoConversation]) -> None:
    """By rule: a swap shares nothing with the right answer, and every other change changes something."""
    made = 0
    for sample in samples:
        for question in (one for one in sample.questions if one.answer and one.evidence):
            for kind in KINDS:
                wrong = perturbed(kind, sample, question)
                if wrong is None:
                    continue
                made += 1
                if kind == "swap":
                    assert not content(wrong.draft) & content(question.answer or "")
                elif kind == "speaker":
                    assert wrong.question != question.text
                elif kind == "stale":
                    assert wrong.planted is not None
                else:
                    assert wrong.draft != question.answer
    assert made > 2_000


@pytest.mark.data
def test_real_answers(samples: list[LocomoConversation]) -> None:
    """A sample of the real file keeps near the measured figures, and far from both baselines."""
    report = evaluate_checker(LOCOMO, limit=30).as_dict()
    assert report["accept_gold"] >= 0.6
    assert report["reject"]["swap"] >= 0.95
    assert min(report["reject"][kind] for kind in ("number", "date", "negation", "speaker")) >= 0.85
    overlap = report["baselines"]["token_overlap"]
    assert report["accept_gold"] > overlap["accept_gold"]
    assert all(report["reject"][kind] > overlap["reject"][kind] for kind in ("negation", "speaker", "stale"))


def test_no_reference_reaches_the_loop(tmp_path: Path) -> None:
    """A canary in every reference is in nothing that the reader or the Checker was given; in the file it is."""
    path = small_file(tmp_path, CANARY)
    seen: list[str] = []

    def watching(review: Review, model: AnswerabilityModel | None) -> Check:
        seen.append(repr(review))
        return examine(review, model)

    evaluate_answers(path, check=watching)
    assert len(seen) == 10
    assert path.read_text("utf-8").count(CANARY) == 10
    assert not [one for one in seen if CANARY in one]


@pytest.mark.anyio
@pytest.mark.parametrize("oracle", [True, False])
async def test_a_verdict_with_a_reference_says_so(oracle: bool) -> None:
    """A verifier that knows a reference marks every verdict of its Checker, and what is stored of it; others do not."""
    checker = Checker(verifiers=(NumericVerifier("3", oracle=oracle), CallableVerifier(lambda _: True)))
    task = Task(id="t", text="How many?", user="ann", asked_at=datetime(2024, 1, 1, tzinfo=UTC))
    verdict = await review_output(checker, None, Review(task=task, draft="3"))
    assert verdict.oracle_feedback is oracle
    assert verdict.model_dump(mode="json")["oracle_feedback"] is oracle
