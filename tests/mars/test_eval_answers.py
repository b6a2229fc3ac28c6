"""`mars eval answers`: real questions through recall, reader and Checker, with variants that must look worse."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from mars.agents.evidence import AnswerabilityModel, Features, examine, shipped_model
from mars.agents.interfaces import Review
from mars.agents.verdicts import Check
from mars.errors import InvalidFile, InvalidInput
from mars.evaluation.answers import AnswersReport, evaluate_answers, save_model, token_f1
from mars.evaluation.logistic import auc, fit_answerability

LOCOMO = Path(__file__).resolve().parents[3] / "shared" / "data" / "locomo" / "locomo5.json"
KEYS = {
    "answer_f1",
    "support_rate",
    "abstain_adversarial",
    "abstain_answerable",
    "approved_wrong",
    "approved_right",
    "auc",
}


def always_approve(review: Review, model: AnswerabilityModel | None) -> Check:
    """A Checker that lets everything through."""
    return Check.passed("always", decisive=True)


def wild(share: float, shift: float = 0.0) -> Features:
    """Return features that all follow one number."""
    return Features(support=share, margin=share + shift, balance=share, ownership=share - shift)


@pytest.fixture(scope="module")
def report() -> AnswersReport:
    if not LOCOMO.exists():
        pytest.skip("LoCoMo is not here: put locomo5.json into ../shared/data/locomo beside the repository")
    return evaluate_answers(LOCOMO, limit=40)


@pytest.mark.data
def test_separates_answerable_from_adversarial(report: AnswersReport) -> None:
    """Held-out answerability tells questions with an answer from those about the wrong person."""
    values = report.as_dict()
    assert values.keys() >= KEYS
    assert values["auc"] >= 0.8
    assert values["abstain_adversarial"] >= 0.6
    assert values["abstain_answerable"] <= 0.3
    assert values["approved_right"] > values["approved_wrong"]
    assert 0.15 < values["answer_f1"] < 1.0
    assert json.loads(json.dumps(values)) == values


@pytest.mark.data
def test_a_shuffled_score_separates_nothing(report: AnswersReport) -> None:
    """The measure is no artefact: the same scores in another order give about one half."""
    scores = [one.score for one in report.answers]
    random.Random(1).shuffle(scores)
    assert abs(auc(scores, [one.answerable for one in report.answers]) - 0.5) < 0.12


@pytest.mark.data
def test_a_checker_that_always_approves_shows() -> None:
    """Without a Checker nothing is abstained from but what the reader does not know, and every wrong answer stands."""
    if not LOCOMO.exists():
        pytest.skip("LoCoMo is not here: put locomo5.json into ../shared/data/locomo beside the repository")
    approving = evaluate_answers(LOCOMO, limit=10, check=always_approve).as_dict()
    checked = evaluate_answers(LOCOMO, limit=10).as_dict()
    assert approving["approved_wrong"] == approving["approved_right"] == 1.0
    assert approving["abstain_adversarial"] == 0.0
    assert checked["approved_wrong"] < 0.8
    assert checked["abstain_adversarial"] > 0.4


def sample(name: str) -> dict[str, object]:
    turns = [
        {"speaker": "Ann", "dia_id": "D1:1", "text": "I adopted a tortoise named Otto yesterday!"},
        {"speaker": "Bob", "dia_id": "D1:2", "text": "Wow. I only bought a bicycle."},
    ]
    asked = [
        {"question": "When did Ann adopt a tortoise?", "answer": "7 May 2023", "evidence": ["D1:1"], "category": 2},
        {"question": "What did Bob buy?", "answer": "a bicycle", "evidence": ["D1:2"], "category": 4},
        {"question": "Where did Bob adopt his tortoise?", "evidence": ["D1:1"], "category": 5},
    ]
    talk = {"speaker_a": "Ann", "speaker_b": "Bob", "session_1_date_time": "1:56 pm on 8 May, 2023", "session_1": turns}
    return {"sample_id": name, "conversation": talk, "qa": asked}


def test_scores_a_file_of_ones_own(tmp_path: Path) -> None:
    """A small file in LoCoMo's format goes through the same pieces, with progress, and says what it found."""
    path = tmp_path / "talk.json"
    path.write_text(json.dumps([sample("one"), sample("two")]))
    seen: list[tuple[int, int]] = []
    found = evaluate_answers(path, model=shipped_model(), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6, 6)
    by_text = {one.question.text: one for one in found.answers}
    first = by_text["When did Ann adopt a tortoise?"]
    assert first.review.draft == "7 May 2023 [m1]"
    assert (first.f1, first.cites_evidence, first.right, first.approved) == (1.0, True, True, True)
    assert not by_text["Where did Bob adopt his tortoise?"].approved
    assert found.as_dict()["auc"] == found.auc("one") == 1.0


def test_one_conversation_falls_back_to_the_shipped_model(tmp_path: Path) -> None:
    """With no other conversation to fit on, the shipped model scores."""
    path = tmp_path / "talk.json"
    path.write_text(json.dumps([sample("one")]))
    shipped = evaluate_answers(path, model=shipped_model()).as_dict()
    alone = evaluate_answers(path).as_dict()
    assert {**alone, "seconds": 0} == {**shipped, "seconds": 0}


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that is not there is a clear error."""
    with pytest.raises(InvalidFile, match=r"missing\.json"):
        evaluate_answers(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("answer", "expected", "f1"),
    [("7 May 2023", "7 May, 2023", 1.0), ("the Cat", "a cat", 1.0), ("blue", "red", 0.0), ("", "red", 0.0)],
)
def test_token_f1(answer: str, expected: str, f1: float) -> None:
    """Words are compared without case, articles and punctuation."""
    assert token_f1(answer, expected) == f1


def test_auc_counts_pairs() -> None:
    """The area is the share of pairs in the right order, ties by half; without pairs it is not a number."""
    assert auc([0.9, 0.4, 0.4, 0.1], [True, True, False, False]) == 0.875
    assert auc([0.1, 0.9], [True, False]) == 0.0
    assert math.isnan(auc([0.1], [True]))


def test_a_fit_learns_what_separates() -> None:
    """A fit orders questions by the features that tell them apart, and its threshold gives up the share asked for."""
    drawn = random.Random(3)
    known = [index % 4 != 0 for index in range(400)]
    features = [wild(drawn.gauss(1.0 if yes else 0.0, 0.5), drawn.gauss(0, 1)) for yes in known]
    model = fit_answerability(features, known, lost=0.1)
    scores = [model.score(each) for each in features]
    assert auc(scores, known) > 0.9
    below = sum(score < model.threshold for score, yes in zip(scores, known, strict=True) if yes)
    assert below == 30
    with pytest.raises(InvalidInput, match="both classes"):
        fit_answerability(features[:3], [True, True, True])


def test_the_fitted_model_is_data(tmp_path: Path) -> None:
    """What is written is what is shipped: the same keys, readable, and the same scores up to rounding."""
    target = tmp_path / "answerability.json"
    save_model(shipped_model(), target, "locomo5.json")
    data = json.loads(target.read_text())
    assert data.pop("fitted_on") == "locomo5.json"
    again = AnswerabilityModel(**data)
    for share in (-1.0, 0.0, 0.4, 3.0):
        assert again.score(wild(share)) == pytest.approx(shipped_model().score(wild(share)), abs=1e-4)


@pytest.mark.data
def test_the_shipped_model_is_the_fitted_one(report: AnswersReport) -> None:
    """The shipped coefficients order real questions about as well as those fitted beside the conversation do."""
    shipped = auc(
        [shipped_model().score(one.features) for one in report.answers], [o.answerable for o in report.answers]
    )
    assert abs(shipped - report.auc()) < 0.05
    assert examine(report.answers[0].review).name == "evidence"
