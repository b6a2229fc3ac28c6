"""The keyless Checker: what it finds in a draft, and what it lets through."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mars.agents.evidence import EvidenceVerifier, examine, features, shipped_model
from mars.agents.evidence.case import Case
from mars.agents.evidence.contradiction import contradiction
from mars.agents.interfaces import NOT_KNOWN, NOTED, Evidence, Review, Task
from mars.agents.verdicts import Check, IssueKind, Outcome

ASKED = datetime(2023, 6, 1, 12, tzinfo=UTC)


def task(text: str, user: str = "ann") -> Task:
    return Task(id="t1", text=text, user=user, asked_at=ASKED)


def said(day: str, speaker: str | None, text: str, place: int = 1, **more: object) -> Evidence:
    values: dict[str, object] = {
        "ref": f"m{place}",
        "record": f"record-{place}",
        "text": text,
        "kind": "episode",
        "speaker": speaker,
        "said_at": datetime.fromisoformat(f"{day}T12:00:00+00:00"),
        "relevance": 0.8,
        "retention": 1.0,
        "conversation": "chat",
        "position": place,
    }
    return Evidence(**{**values, **more})  # type: ignore[arg-type]


def check(question: str, draft: str, *evidence: Evidence, user: str = "ann", **more: object) -> Check:
    return examine(Review(task=task(question, user), draft=draft, evidence=evidence, **more))  # type: ignore[arg-type]


def kinds(checked: Check) -> list[IssueKind]:
    return [issue.kind for issue in checked.issues]


GROUP = said("2023-05-08", "Caroline", "I went to a LGBTQ support group yesterday and it was so powerful.")
QUESTION = "When did Caroline go to the LGBTQ support group?"


@pytest.mark.wheel
@pytest.mark.parametrize(
    "draft",
    [
        "7 May 2023 [m1]",
        "I went to a LGBTQ support group yesterday [m1]",
        "Caroline went to the support group on 7 May 2023 [m1].",
        "In May 2023 [m1]",
    ],
)
def test_passes_what_its_source_supports(draft: str) -> None:
    """A claim that its cited record holds passes, decisively: verbatim, in other words, as a resolved date or month."""
    checked = check(QUESTION, draft, GROUP)
    assert (checked.outcome, checked.decisive) == (Outcome.PASSED, True), checked.issues
    assert checked.score is not None
    assert checked.score > shipped_model().threshold


@pytest.mark.parametrize(
    ("draft", "kind"),
    [
        ("7 May 2023", IssueKind.NO_CITATION),
        ("7 May 2023 [m9]", IssueKind.MISQUOTED),
        ('She said "it was a dreadful evening" [m1]', IssueKind.MISQUOTED),
        ("8 May 2023 [m1]", IssueKind.DATE),
        ("17 May 2023 [m1]", IssueKind.DATE),
        ("In June 2023 [m1]", IssueKind.DATE),
        ("2021 [m1]", IssueKind.DATE),
        ("Caroline went to 3 support groups [m1]", IssueKind.NUMBER),
        ("Caroline did not go to the LGBTQ support group [m1]", IssueKind.NEGATION),
        ("Caroline flew her private helicopter over Patagonia [m1]", IssueKind.UNSUPPORTED),
    ],
)
def test_rejects_what_its_source_does_not_support(draft: str, kind: IssueKind) -> None:
    """A missing or invented source, a changed date, number, negation or wording is found and named."""
    checked = check(QUESTION, draft, GROUP)
    assert checked.outcome is Outcome.FAILED
    assert kind in kinds(checked)
    assert all(issue.evidence and issue.directive for issue in checked.issues)


@pytest.mark.parametrize(
    ("text", "draft", "passes"),
    [
        ("We have three cats and a dog.", "3 cats [m1]", True),
        ("We have three cats and a dog.", "4 cats [m1]", False),
        ("The rent is 1,250 euros for the flat with cats.", "1250 euros [m1]", True),
        ("The rent is 1,250 euros for the flat with cats.", "1350 euros [m1]", False),
    ],
)
def test_numbers_agree_in_words_and_digits(text: str, draft: str, passes: bool) -> None:
    """A number counts as the same in words, in digits and with separators; another one is rejected."""
    checked = check("How many cats?", draft, said("2023-05-08", "ann", text))
    assert (IssueKind.NUMBER not in kinds(checked)) is passes


def test_a_cut_off_negation_is_found() -> None:
    """Quoting a part of a sentence without the negation it stands under is a fault."""
    record = said("2023-05-08", "ann", "I never said that I like jazz music.")
    assert IssueKind.NEGATION in kinds(check("Do I like jazz music?", "I like jazz music [m1]", record))
    plain = said("2023-05-08", "ann", "Honestly, I like jazz music.")
    assert check("Do I like jazz music?", "I like jazz music [m1]", plain).outcome is Outcome.PASSED


def test_a_negated_question_needs_a_negated_source() -> None:
    """Who asks what somebody does not eat is not answered by what they eat."""
    eats, avoids = said("2023-05-08", "ann", "I eat nuts."), said("2023-05-08", "ann", "I don't eat nuts.")
    assert IssueKind.NEGATION in kinds(check("What do I not eat?", "I eat nuts. [m1]", eats))
    assert IssueKind.NEGATION not in kinds(check("What do I not eat?", "I don't eat nuts. [m1]", avoids))


SWAP = (
    said("2023-05-08", "Melanie", "I painted a sunrise over the lake for my mother.", 1),
    said("2023-05-08", "Caroline", "Your sunrise painting is lovely, Melanie!", 2),
    said("2023-05-09", "Caroline", "I am off to choir practice.", 3),
)


def test_somebody_elses_words_do_not_answer() -> None:
    """A question about the wrong person is rejected, about the right person approved, on the same evidence."""
    draft = "I painted a sunrise over the lake for my mother. [m1]"
    wrong = check("What did Caroline paint for her mother?", draft, *SWAP)
    assert wrong.outcome is Outcome.FAILED
    assert IssueKind.SPEAKER in kinds(wrong)
    right = check("What did Melanie paint for her mother?", draft, *SWAP)
    assert right.outcome is Outcome.PASSED, right.issues
    assert (wrong.score or 0.0) < (right.score or 0.0)


def test_what_is_said_to_somebody_is_about_them() -> None:
    """ "Your painting" counts for the person spoken to, and not for the speaker."""
    only = (SWAP[1],)
    melanie = features(task("How is Melanie's sunrise painting?"), only)
    caroline = features(task("How is Caroline's sunrise painting?"), only)
    assert melanie.balance > 0 > caroline.balance
    assert shipped_model().score(melanie) > shipped_model().score(caroline)


@pytest.mark.parametrize(
    ("question", "draft", "kind"),
    [
        ("When did Caroline go to the LGBTQ support group?", "It was powerful [m1]", IssueKind.UNANSWERED),
        ("How many people came to the LGBTQ support group?", "so powerful [m1]", IssueKind.UNANSWERED),
        ("How was the LGBTQ support group?", "7 May 2023 [m1]", IssueKind.UNANSWERED),
        ("What was the LGBTQ support group like?", "Yes [m1]", IssueKind.UNANSWERED),
        ("How was the LGBTQ support group?", 'She said "it was so powerful" [m1]', None),
    ],
)
def test_an_answer_has_the_form_that_is_asked_for(question: str, draft: str, kind: IssueKind | None) -> None:
    """ "When" wants a time, "how many" a number; a date answers neither "how" nor "what"."""
    checked = check(question, draft, GROUP)
    assert kinds(checked)[:1] == ([] if kind is None else [kind]), checked.issues


def test_the_answer_to_another_question_is_found() -> None:
    """A claim that stands in a cited memory, but in none about what was asked, is not supported; the right one is."""
    talk = [
        said("2023-05-08", "Caroline", "I adopted a grey kitten from the shelter on Saturday.", 1),
        said("2023-05-08", "Melanie", "How lovely! My pottery class made a blue bowl this week.", 2),
        said("2023-05-19", "Caroline", "The mountain trip was cold, we slept in a wooden hut.", 8),
        said("2023-05-19", "Melanie", "I baked a walnut cake for the neighbours.", 9),
    ]
    question = "Where did Caroline sleep on the mountain trip?"
    assert check(question, "in a wooden hut [m8]", *talk).outcome is Outcome.PASSED
    assert kinds(check(question, "a walnut cake [m9]", *talk))
    assert kinds(check(question, "a grey kitten [m1]", *talk))


def test_a_citation_must_hold_the_claim() -> None:
    """A right answer that cites a memory without it is rejected, and told which one holds it."""
    talk = [
        said("2023-05-19", "Caroline", "The mountain trip was cold, we slept in a wooden hut.", 1),
        said("2023-06-19", "Caroline", "The mountain trip photos are ready.", 30),
    ]
    checked = check("Where did Caroline sleep on the mountain trip?", "in a wooden hut [m30]", *talk)
    assert IssueKind.MISQUOTED in kinds(checked)
    assert any("[m1]" in issue.directive for issue in checked.issues)


def test_one_more_item_of_a_list_is_no_contradiction() -> None:
    """A list is not out of date because a newer memory tells of one more; a correction still counts."""
    first = said("2023-03-01", "ann", "I play the piano every evening.", 1)
    second = said("2023-03-02", "ann", "I play the violin in a band.", 9)
    more = said("2023-04-02", "ann", "I play the flute now.", 20)
    assert IssueKind.STALE not in kinds(check("What do I play?", "piano and violin [m1] [m9]", first, second, more))
    wrong = said("2023-04-02", "ann", "Correction: I play the flute, not the violin.", 20)
    assert IssueKind.STALE in kinds(check("What do I play?", "piano and violin [m1] [m9]", first, second, wrong))


def test_years_that_something_lasts_tell_when_it_began() -> None:
    """ "For seven years", said in 2023, supports 2016 and no other year."""
    painting = said("2023-08-14", "Melanie", "I have been painting for seven years now.")
    question = "Since when has Melanie been painting?"
    assert IssueKind.DATE not in kinds(check(question, "Since 2016 [m1]", painting))
    assert IssueKind.DATE in kinds(check(question, "Since 2015 [m1]", painting))


def test_i_means_the_one_who_asks() -> None:
    """ "My" in a question is the user's, where the user's own words are among the evidence."""
    own = features(task("What did I paint for my mother?", user="Melanie"), SWAP)
    assert own == features(task("What did Melanie paint for her mother?"), SWAP)


def test_off_topic_evidence_is_no_support() -> None:
    """A source that has nothing to do with the question does not support an answer to it, however verbatim."""
    record = said("2023-05-08", "ann", "The weather was lovely.")
    checked = check("What is the name of my landlord's parrot?", "The weather was lovely. [m1]", record)
    assert IssueKind.UNSUPPORTED in kinds(checked)


def test_tool_results_are_sources_too() -> None:
    """An answer that quotes a tool's result needs no citation; one that no tool returned does."""
    rows = ("The table has 7 rows.",)
    assert check("How many rows?", "The table has 7 rows.", tool_results=rows).outcome is Outcome.PASSED
    assert IssueKind.NO_CITATION in kinds(check("How many rows?", "The table has 9 rows.", tool_results=rows))


def test_not_known_is_undecided_or_asks_for_more() -> None:
    """ "Not known" is never approved; it is sent back once if what was recalled looks like an answer."""
    again = check(QUESTION, NOT_KNOWN, GROUP)
    assert kinds(again) == [IssueKind.UNANSWERED]
    assert check(QUESTION, NOT_KNOWN, GROUP, recall_widened=True).outcome is Outcome.UNDECIDED
    assert check(QUESTION, NOT_KNOWN).outcome is Outcome.UNDECIDED
    assert check("I like tea.", NOTED, GROUP).outcome is Outcome.UNDECIDED


async def test_verifier_gives_the_same_check() -> None:
    """The verifier of the loop is the pure function behind its interface."""
    review = Review(task=task(QUESTION), draft="7 May 2023 [m1]", evidence=(GROUP,))
    assert await EvidenceVerifier().verify(review) == examine(review)


def newer(old: str, new: str, question: str, draft: str | None = None, **more: object) -> Check:
    records = (said("2023-03-01", "ann", old, 1), said("2023-03-09", "ann", new, 2, **more))
    return check(question, f"{draft or old} [m1]", *records)


@pytest.mark.parametrize(
    ("old", "new", "question", "draft"),
    [
        (
            "My dentist appointment is on Tuesday 14 March.",
            "The clinic called, the dentist appointment was moved to 21 March instead.",
            "When is my dentist appointment?",
            "Tuesday 14 March",
        ),
        ("The exam starts at 9 o'clock.", "The exam now starts at 11 o'clock.", "What time does the exam start?", None),
        ("My favourite colour is blue.", "My favourite colour is green.", "What is my favourite colour?", None),
        (
            "My favourite colour is blue.",
            "I changed my mind, green is my favourite colour.",
            "What is my favourite colour?",
            None,
        ),
        ("The locker code is 4711.", "The locker code has been changed to 1234.", "What is the locker code?", None),
        ("I live in Oslo.", "I moved to Bergen, I no longer live in Oslo.", "Where do I live?", None),
        ("I work at Acme as a welder.", "I switched jobs: I work at Globex.", "Where do I work?", None),
        ("My sister's name is Hanna.", "Correction: my sister's name is Anna.", "What is my sister's name?", None),
        ("The party is at the Blue Bar.", "The party was moved to the Red Lion.", "Where is the party?", None),
        ("I drive a red Volvo.", "I no longer drive the Volvo, I drive a Skoda.", "What car do I drive?", None),
        ("My gym is Fit24.", "My gym is actually PureGym now.", "What is my gym?", None),
        ("Our dog is called Rex.", "Our dog is called Max.", "What is our dog called?", None),
        (
            "The dentist appointment is on Friday 29 May.",
            "We postponed the dentist to Friday 17 July.",
            "When is the dentist appointment?",
            "Friday 29 May",
        ),
        ("The code of the yard gate is 3344.", "The gate wants the code 7788.", "What is the code of the gate?", None),
        ("The rent is 900 euros.", "The rent is 950 euros.", "How much is the rent?", None),
        ("Lunch with Bob is on Friday.", "Lunch with Bob is cancelled.", "When is lunch with Bob?", "Friday"),
        ("Ann's coat hangs on hook 27.", "Ann's coat hangs on hook 127.", "On which hook hangs Ann's coat?", None),
        ("Ann's coat hangs on hook 27.", "Ann's coat now hangs on hook 127.", "On which hook hangs Ann's coat?", None),
        ("Ann's coat hangs on hook 27.", "Ann's coat moved to hook 127.", "On which hook hangs Ann's coat?", None),
    ],
)
def test_a_newer_record_that_contradicts_is_found(old: str, new: str, question: str, draft: str | None) -> None:
    """Dates, times, colours, codes, places, jobs, names and prices that changed make the old record stale."""
    stale = [issue for issue in newer(old, new, question, draft).issues if issue.kind is IssueKind.STALE]
    assert len(stale) == 1
    assert (stale[0].records, stale[0].blame) == (("m2",), ("m1",))
    assert "m2" in stale[0].directive


@pytest.mark.parametrize(
    ("old", "new", "question"),
    [
        ("My favourite colour is blue.", "My favourite colour is blue.", "What is my favourite colour?"),
        ("My favourite colour is blue.", "My favourite food is rice.", "What is my favourite colour?"),
        ("My favourite colour is blue.", "Is my favourite colour green?", "What is my favourite colour?"),
        ("I went camping in June.", "I went camping again last week, it was cold.", "When did I go camping?"),
        ("My dentist is Dr. Hill.", "My dentist appointment went well.", "Who is my dentist?"),
        ("I love pottery.", "I now love my new bike.", "What do I love about pottery?"),
        ("The locker code is 4711.", "I changed the tyres on the car to winter ones.", "What is the locker code?"),
        ("I live in Oslo.", "My brother moved his office to Rome.", "Where do I live now, in Oslo?"),
        ("Ann's coat hangs on hook 27.", "Bob's coat hangs on hook 127.", "On which hook hangs Ann's coat?"),
        ("I ran 5 miles on Sunday.", "I ran 7 miles on Sunday.", "Which distance ran Ann before last Sunday?"),
    ],
)
def test_what_does_not_contradict_raises_no_alarm(old: str, new: str, question: str) -> None:
    """Repetitions, other topics, questions and further events leave the old record standing."""
    assert IssueKind.STALE not in kinds(newer(old, new, question))


def test_other_people_do_not_contradict() -> None:
    """What somebody else says of themselves makes nobody's record stale."""
    records = (
        said("2023-03-01", "Ann", "My favourite colour is blue.", 1),
        said("2023-03-09", "Bob", "My favourite colour is green.", 2),
    )
    checked = check("What is Ann's favourite colour?", "My favourite colour is blue. [m1]", *records)
    assert checked.outcome is Outcome.PASSED, checked.issues


def test_older_records_do_not_contradict() -> None:
    """Only what was said later counts, whatever the order of recall."""
    records = (
        said("2023-03-09", "ann", "My favourite colour is green.", 2),
        said("2023-03-01", "ann", "My favourite colour is blue.", 1),
    )
    assert (
        check("What is my favourite colour?", "My favourite colour is green. [m2]", *records).outcome is Outcome.PASSED
    )


def test_a_value_said_again_after_the_change_stands() -> None:
    """If the newest statement repeats the draft's value, an intermediate one does not make it stale."""
    records = (
        said("2023-03-01", "ann", "My favourite colour is blue.", 1),
        said("2023-03-05", "ann", "My favourite colour is green.", 2),
        said("2023-03-09", "ann", "My favourite colour is blue.", 3),
    )
    assert (
        check("What is my favourite colour?", "My favourite colour is blue. [m1]", *records).outcome is Outcome.PASSED
    )


def test_every_repetition_of_the_stale_value_is_blamed() -> None:
    """All older records with the old value are named, so that the next attempt avoids them all."""
    records = (
        said("2023-03-01", "ann", "My dentist appointment is on 14 March.", 1),
        said("2023-03-03", "ann", "Remember that my dentist appointment is on 14 March!", 2),
        said("2023-03-04", "ann", "Rice for dinner again.", 3),
        said("2023-03-09", "ann", "The dentist appointment was moved from 14 March to 21 March.", 4),
    )
    (issue,) = check("When is my dentist appointment?", "14 March [m1]", *records).issues
    assert (issue.kind, set(issue.blame), issue.records) == (IssueKind.STALE, {"m1", "m2"}, ("m4",))


def test_a_change_told_in_the_next_turn_counts() -> None:
    """A change whose topic was named the turn before contradicts too; far away from it, it does not."""
    old = said("2023-03-01", "ann", "My dentist appointment is on 14 March.", 1)
    called = said("2023-03-09", "ann", "The dentist called about my appointment.", 8)
    moved = said("2023-03-09", "ann", "They moved it to 21 March instead.", 9)
    far = said("2023-03-09", "ann", "They moved it to 21 March instead.", 30)
    question = "When is my dentist appointment?"
    assert kinds(check(question, "14 March [m1]", old, called, moved)) == [IssueKind.STALE]
    assert check(question, "14 March [m1]", old, called, far).outcome is Outcome.PASSED


def test_the_checkers_own_search_counts() -> None:
    """A contradiction that only the Checker's wider search found makes the draft stale too."""
    old = said("2023-03-01", "ann", "My favourite colour is blue.", 1)
    found = said("2023-03-09", "ann", "My favourite colour is green.", 2, ref="w1")
    checked = check("What is my favourite colour?", "My favourite colour is blue. [m1]", old, wider=(found,))
    assert [issue.records for issue in checked.issues] == [("w1",)]


def test_a_newer_fact_contradicts() -> None:
    """A newer fact in the same respect with another value makes an episode stale; one in another respect does not."""
    old = said("2023-03-01", "ann", "I live in Oslo.", 1)
    fact = {"kind": "fact", "subject": "ann", "conversation": None, "position": None}
    bergen = said("2023-03-09", None, "ann lives in Bergen.", 2, **fact, relation="lives in", value="Bergen")
    oslo = said("2023-03-09", None, "ann lives in Oslo.", 2, **fact, relation="lives in", value="Oslo")
    tea = said("2023-03-09", None, "ann's favourite tea is Assam.", 2, **fact, relation="favourite tea", value="Assam")
    question = "Where do I live?"
    assert IssueKind.STALE in kinds(check(question, "I live in Oslo. [m1]", old, bergen))
    for harmless in (oslo, tea):
        assert IssueKind.STALE not in kinds(check(question, "I live in Oslo. [m1]", old, harmless))


def test_contradiction_names_the_newest_record() -> None:
    """Of several changes the latest is what the next answer should rest on."""
    records = (
        said("2023-03-01", "ann", "The locker code is 4711.", 1),
        said("2023-03-05", "ann", "The locker code was changed to 1234.", 2),
        said("2023-03-09", "ann", "The locker code was changed to 9999.", 3),
    )
    case = Case(Review(task=task("What is the locker code?"), draft="The locker code is 4711. [m1]", evidence=records))
    found = contradiction(case, records[0])
    assert found is not None
    assert found.item.ref == "m3"


@pytest.mark.parametrize("text", ["My dentist is Omar Haddad.", "We moved, and my dentist is Omar Haddad now."])
def test_my_is_the_askers_also_where_the_asker_never_spoke(text: str) -> None:
    """What others say of their own dentists answers nobody's "my dentist"."""
    zoe = said("2023-05-08", "Zoe", text)
    assert IssueKind.SPEAKER in kinds(check("Who is my dentist?", f"{text} [m1]", zoe, user="mara"))
    assert IssueKind.SPEAKER not in kinds(check("Who is my dentist?", f"{text} [m1]", zoe, user="zoe"))


def test_a_name_in_the_possessive_is_whose_it_is() -> None:
    """ "Emma's dentist" is not Zoe's; whoever tells of Emma may be believed."""
    zoe = said("2023-05-08", "Zoe", "My dentist is Omar Haddad.")
    emma = said("2023-05-08", "Zoe", "Emma was there too, and her dentist is Omar Haddad.")
    asked = "Who is Emma's dentist?"
    assert IssueKind.SPEAKER in kinds(check(asked, "My dentist is Omar Haddad. [m1]", zoe))
    assert IssueKind.SPEAKER not in kinds(check(asked, f"{emma.text} [m1]", emma))


@pytest.mark.parametrize("day", ["2023-05-01", "2023-05-20"])
def test_hearsay_gives_way_to_ones_own_word(day: str) -> None:
    """What others say of the asker is rejected where the asker says otherwise, before or after; never the reverse."""
    own = said("2023-05-08", "Mara", "My bookshop is the Old Mill.", 1)
    hearsay = said(day, "Ben", "Mara's bookshop is the Corner House.", 2)
    drawn = said(
        day,
        "Ben",
        "Mara's bookshop is the Corner House.",
        3,
        kind="fact",
        subject="Mara",
        relation="bookshop",
        value="the Corner House",
    )
    asked = "What is my bookshop?"
    for ref, item in (("m2", hearsay), ("m3", drawn)):
        wrong = check(asked, f"{item.text} [{ref}]", own, hearsay, drawn, user="mara")
        assert IssueKind.SPEAKER in kinds(wrong)
        right = check(asked, f"{own.text} [m1]", own, hearsay, drawn, user="mara")
        assert IssueKind.STALE not in kinds(right)
        assert not any("says otherwise" in issue.evidence for issue in right.issues)
    alone = check(asked, f"{hearsay.text} [m1]", replace(hearsay, ref="m1"), user="mara")
    assert IssueKind.SPEAKER not in kinds(alone)


PROMISE = "I promised Karim the contract by 12 May."


@pytest.mark.parametrize(
    ("later", "stale"),
    [
        ("I promised Karim the contract by 20 May.", True),
        ("I promised Karim the contract by 12 May.", False),
        ("I promised Karim the invoice by 20 May.", False),
        ("I promised Sofia the contract by 20 May.", False),
    ],
)
def test_a_thing_has_one_deadline_at_a_time(later: str, stale: bool) -> None:
    """The same words with another deadline take the older ones' place, also in a question about the past."""
    old, new = said("2023-03-01", "Ann", PROMISE, 1), said("2023-03-20", "Ann", later, 9)
    checked = check("What did I promise by 12 May?", f"{PROMISE} [m1]", old, new, user="Ann")
    assert (IssueKind.STALE in kinds(checked)) == stale


@pytest.mark.parametrize(
    ("old", "new", "question", "stale"),
    [
        ("The report is due on 3 June.", "The report is due on 17 June.", "What was due on 3 June?", True),
        (
            "The tax form must be in by 1 July.",
            "The tax form must be in by 1 August.",
            "What did I file by 1 July?",
            True,
        ),
        ("I saw the dentist on 3 May.", "I saw the dentist on 17 May.", "What did I do on 3 May?", False),
        ("We met by the lake on 3 May.", "We met by the lake on 17 May.", "Where did we meet on 3 May?", False),
    ],
)
def test_two_events_are_no_deadline(old: str, new: str, question: str, stale: bool) -> None:
    """Other words for a deadline count alike; what happened on two days happened twice."""
    before, after = said("2023-05-18", "Ann", old, 1), said("2023-05-20", "Ann", new, 9)
    checked = check(question, f"{old} [m1]", before, after, user="Ann")
    assert (IssueKind.STALE in kinds(checked)) == stale


@pytest.mark.parametrize(
    ("old", "new", "question", "stale"),
    [
        (
            "I owe Bob the vase, due on 3 June.",
            "I owe Ann the lamp, due on 5 June.",
            "What do I owe, due on 3 June?",
            False,
        ),
        (
            "I owe Bob the vase, due on 3 June.",
            "I owe Bob the vase, due on 9 June.",
            "What do I owe, due on 3 June?",
            True,
        ),
        ("Bob gets the vase on 3 June.", "Ann gets the lamp on 3 July.", "What does who get on 3 June?", False),
        (
            "The deadline of the vase is 3 June.",
            "The deadline of the lamp is 5 June.",
            "Of what is 3 June the deadline?",
            False,
        ),
        ("The vase is in box 12 on Monday.", "The vase is in box 17 on Friday.", "In which box is the vase?", True),
    ],
)
def test_another_matter_in_the_same_words_is_no_newer_word(old: str, new: str, question: str, stale: bool) -> None:
    """A sentence with another thing, and another value in the place of the one asked for, contradicts nothing."""
    before, after = said("2023-05-18", "Mara", old, 1), said("2023-05-20", "Mara", new, 9)
    checked = check(question, f"{old} [m1]", before, after, user="Mara")
    assert (IssueKind.STALE in kinds(checked)) == stale


def test_how_to_answer_is_no_topic() -> None:
    """Answers that are offered need not stand in the source, and to choose one of them is to say something."""
    log = said("2023-05-08", "ann", "Procedure Delta fixed the pump leak.")
    offered = "Which procedure fixes the pump leak? Choose among Alpha, Bravo, Delta, Kilo, Sierra."
    assert kinds(check(offered, "Procedure Delta fixed the pump leak. [m1]", log)) == []
    assert kinds(check(offered, "Delta", log)) == [IssueKind.NO_CITATION]


def test_answerability_is_stable_under_repetition_and_order() -> None:
    """The same evidence gives the same score, and a wider recall of unrelated turns hardly changes it."""
    noise = tuple(
        said("2023-05-10", "Caroline", f"Sentence number {place} on something else.", place) for place in range(10, 30)
    )
    question = task("What did Melanie paint for her mother?")
    few, many = (shipped_model().score(features(question, each)) for each in (SWAP, SWAP + noise))
    assert few == shipped_model().score(features(question, SWAP))
    assert abs(few - many) < 0.2


def test_nothing_raises_on_odd_input() -> None:
    """No evidence, odd speakers, empty drafts and far dates give a check, never an exception."""
    far = said("2023-05-08", None, "… ??? 🌟", 1, said_at=ASKED + timedelta(days=900_000))
    for draft in ("", "[m1]", "🌟 [m1]", "1 January 9999 [m1]", "x" * 5000):
        for evidence in ((), (far,)):
            assert check("?", draft, *evidence).outcome in Outcome


@pytest.mark.parametrize("draft", ["[m1]", "It [m1].", "Where does my sister live? [m1]", "My sister lives [m1]."])
def test_saying_nothing_is_no_answer(draft: str) -> None:
    """A draft without content, or with the question's words only, is not approved for having a source."""
    record = said("2023-05-08", "ann", "My sister lives in Oslo.")
    assert IssueKind.UNANSWERED in kinds(check("Where does my sister live?", draft, record))
    assert check("Where does my sister live?", "My sister lives in Oslo. [m1]", record).outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("draft", "kind"),
    [("Not in Oslo [m1].", IssueKind.NEGATION), ("Bob's sister lives in Oslo [m1].", IssueKind.UNSUPPORTED)],
)
def test_one_word_can_make_it_false(draft: str, kind: IssueKind) -> None:
    """A negation or a name that the source does not have is a fault, however much of the rest it holds."""
    record = said("2023-05-08", "ann", "My sister lives in Oslo.")
    assert kinds(check("Where does my sister live?", draft, record)) == [kind]


def test_only_what_the_assistant_saw_can_be_cited() -> None:
    """A ref of the Checker's own search is no source of a draft, even if its record would support it."""
    record = replace(said("2023-05-08", "ann", "My sister lives in Oslo."), ref="w1")
    review = Review(task=task("Where does my sister live?"), draft="In Oslo [w1].", wider=(record,))
    assert IssueKind.MISQUOTED in kinds(examine(review))
