"""Plans and reflections: merging, bounds, and the way through the state."""

from __future__ import annotations

import json
from datetime import UTC

from hypothesis import given
from hypothesis import strategies as st

from mars.agents.reflections import WIDEST, Plan, Reflection, combined_plan

PLANS = st.builds(
    Plan,
    widen=st.integers(1, 4),
    avoid=st.lists(st.sampled_from("abc"), max_size=3, unique=True).map(tuple),
    not_before=st.none() | st.datetimes(timezones=st.just(UTC)),
    speaker=st.none() | st.sampled_from(["Ann", "Bob"]),
    terms=st.lists(st.sampled_from(["x", "y"]), max_size=2, unique=True).map(tuple),
    abstain=st.booleans(),
)


@given(st.lists(PLANS, max_size=6))
def test_a_combined_plan_is_bounded_and_keeps_all_it_must_avoid(plans: list[Plan]) -> None:
    """Lessons add up, but recall never widens without bound."""
    combined = combined_plan([Reflection(text="t", plan=plan) for plan in plans])
    assert 1 <= combined.widen <= WIDEST
    assert set(combined.avoid) == {record for plan in plans for record in plan.avoid}
    assert len(set(combined.avoid)) == len(combined.avoid)


@given(PLANS)
def test_a_plan_survives_storage(plan: Plan) -> None:
    """What is stored in a record's metadata comes out equal."""
    reflection = Reflection(text="t", plan=plan, causes=("stale",))
    assert Reflection.from_plain(json.loads(json.dumps(reflection.plain()))) == reflection


def test_a_newer_plan_with_unknown_keys_can_be_read() -> None:
    """A store written by a later version does not break this one."""
    assert Plan.from_plain({"widen": 99, "colour": "red"}) == Plan(widen=WIDEST)
