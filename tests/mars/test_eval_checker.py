"""`mars eval checker`: right answers and their changes, with Checkers that must look worse."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage

from mars import Assistant, Checker, Mars, Reflector, Team
from mars.agents.checking import review_output
from mars.agents.evidence import AnswerabilityModel, examine, survey
from mars.agents.interfaces import Review, Task
from mars.agents.verdicts import Check
from mars.agents.verifiers import CallableVerifier, NumericVerifier
from mars.errors import InvalidInput
from mars.evaluation.answers import evaluate_answers
from mars.evaluation.checker import always_approve, evaluate_checker
from mars.evaluation.checker_drafts import made_drafts
from mars.evaluation.claim_models import Example, fit_claims
from mars.evaluation.perturbations import KINDS, content, perturbed
from mars.ingest.locomo import LocomoConversation, conversations
from mars.testing import FixedClock, ScriptedModel, Step

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


SAMPLED = 30
"""Questions of one conversation that the test of real answers asks."""


@pytest.fixture(scope="module")
def part(samples: list[LocomoConversation], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the shortest conversation with a seeded sample of its questions."""
    whole = json.loads(LOCOMO.read_bytes())
    names = [sample.id for sample in samples]
    shortest = min(samples, key=lambda sample: len(sample.turns))
    one = whole[names.index(shortest.id)]
    known = {question.text for question in shortest.questions if question.answer and question.evidence}
    asked = [question for question in one["qa"] if question["question"] in known and question["category"] != 5]
    path = tmp_path_factory.mktemp("locomo") / "part.json"
    path.write_text(json.dumps([{**one, "qa": random.Random(4).sample(asked, SAMPLED)}]), "utf-8")
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
def test_real_answers(part: Path) -> None:
    """On a sample of one conversation the shipped models keep near the measured figures, far from both baselines."""
    report = evaluate_checker(part).as_dict()
    assert report["drafts"]["gold"] == SAMPLED
    assert report["accept_gold"] >= 0.5
    assert report["reject"]["swap"] >= 0.9
    assert min(report["reject"][kind] for kind in ("negation", "speaker")) >= 0.8
    overlap = report["baselines"]["token_overlap"]
    assert all(report["reject"][kind] > overlap["reject"][kind] for kind in ("swap", "negation", "speaker", "stale"))
    assert not report["oracle_feedback"]


@pytest.mark.data
def test_the_annotation_is_no_part_of_a_review(part: Path, tmp_path: Path) -> None:
    """Other evidence ids and categories change no review; with `oracle` they do, and the report says so."""
    samples = json.loads(part.read_text("utf-8"))
    for question in samples[0]["qa"]:
        question["evidence"] = ["D1:1"]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(samples), "utf-8")
    given = [_golds(path, oracle=False) for path in (part, other)]
    assert given[0] == given[1]
    annotated = [_golds(path, oracle=True) for path in (part, other)]
    assert annotated[0] != annotated[1]
    assert annotated[0] != given[0]
    assert evaluate_checker(small_file(tmp_path), oracle=True).as_dict()["oracle_feedback"]


def _golds(path: Path, *, oracle: bool) -> list[tuple[str, tuple[str, ...]]]:
    drafts = made_drafts(conversations(path), 8, oracle=oracle)
    return [(one.review.draft, tuple(e.text for e in one.review.evidence)) for one in drafts if one.kind == "gold"]


def test_a_fit_needs_each_kind(tmp_path: Path) -> None:
    """The models are fitted on right, swapped and others' answers; where one is missing it says so."""
    drafts = list(made_drafts(conversations(small_file(tmp_path))))
    examples = [Example.of(draft.kind, survey(draft.review)) for draft in drafts]
    with pytest.raises(InvalidInput, match="both classes"):
        fit_claims([one for one in examples if one.kind != "swap"])


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
async def test_no_reference_reaches_a_prompt(tmp_path: Path) -> None:
    """With a canary in every reference, no raw prompt of Assistant, judge or Reflector holds it, by the models' own
    logs; an Assistant that read the references does show up in them.
    """
    path = small_file(tmp_path, CANARY)
    sample = conversations(path)[0]
    no = Step(structured={"approved": False, "score": 0.2})
    models = {role: ScriptedModel(_reply(text)) for role, text in (("assistant", "Not sure [m1]."), ("reflector", "…"))}
    models["judge"] = ScriptedModel(lambda messages: no)
    logs = await _asked(sample, models, [one.text for one in sample.questions])
    assert all(len(log) >= len(sample.questions) for log in logs.values())
    prompts = [prompt for log in logs.values() for prompt in log]
    assert any("adopted three cats" in prompt for prompt in prompts)
    assert path.read_text("utf-8").count(CANARY) == 10
    assert not [prompt for prompt in prompts if CANARY in prompt]
    leaking = {**models, "assistant": ScriptedModel(_reply(f"{sample.questions[0].answer} [m1]"))}
    seen = await _asked(sample, leaking, [sample.questions[0].text])
    assert any(CANARY in prompt for prompt in seen["judge"])


def _reply(text: str) -> Callable[[Sequence[BaseMessage]], str]:
    return lambda messages: text


async def _asked(
    sample: LocomoConversation, models: Mapping[str, ScriptedModel], questions: Sequence[str]
) -> dict[str, list[str]]:
    """Ask questions of a team of scripted models over a sample's turns, and return every prompt of each role."""
    team = Team(
        assistant=Assistant(model=models["assistant"]),
        checker=Checker(model=models["judge"]),
        reflector=Reflector(model=models["reflector"]),
        iterations=2,
    )
    async with Mars.open("memory:", team=team, clock=FixedClock()) as mars:
        await mars.memory.add_many(sample.turns)
        for question in questions:
            await mars.run(question, user="reader", namespace=sample.turns[0].namespace)
    return {role: [call.prompt for call in model.calls] for role, model in models.items()}


@pytest.mark.anyio
@pytest.mark.parametrize("oracle", [True, False])
async def test_a_verdict_with_a_reference_says_so(oracle: bool) -> None:
    """A verifier that knows a reference marks every verdict of its Checker, and what is stored of it; others do not."""
    checker = Checker(verifiers=(NumericVerifier("3", oracle=oracle), CallableVerifier(lambda _: True)))
    task = Task(id="t", text="How many?", user="ann", asked_at=datetime(2024, 1, 1, tzinfo=UTC))
    verdict = await review_output(checker, None, Review(task=task, draft="3"))
    assert verdict.oracle_feedback is oracle
    assert verdict.model_dump(mode="json")["oracle_feedback"] is oracle
