"""The protocol keeps its promises under any schedule, and the model notices when a rule is missing.

Seen to fail, besides the mutants (seeds below 10 each time):
- the barrier and the horizon satisfied with one shard out of two;
- the barrier's goal read from what the viewer has applied instead of from the ledger's heads;
- the viewer moving the place of one shard only;
- the horizon set back to an earlier instant;
- a watermark sent while rows up to its horizon were unsent.

Seen not to matter by itself, because a second guard does the same: the recorder's epoch (the offset is compared too),
the recorder's offset (the epoch is), the relay's epoch (the broker's fence).
"""

from collections import Counter

import pytest

from protocol.model import run
from protocol.world import Mutant

SCHEDULES = 3000
SEEDS_PER_MUTANT = 600


def test_no_schedule_of_pauses_and_kills_breaks_a_promise() -> None:
    reached = Counter[str]()

    for seed in range(SCHEDULES):
        world = run(seed)
        assert world.errors == [], f"seed {seed}"
        reached += world.reached

    # A run in which nobody was fenced or answered would prove nothing.
    assert (
        min(reached[what] for what in ("yes", "duplicate", "lost an epoch", "fenced by the broker")) > SCHEDULES / 10
    ), reached


@pytest.mark.parametrize("mutant", Mutant)
def test_every_rule_left_out_is_found(mutant: Mutant) -> None:
    found = next((seed for seed in range(SEEDS_PER_MUTANT) if run(seed, mutant).errors), None)

    assert found is not None, f"{SEEDS_PER_MUTANT} schedules did not miss the rule"


def test_a_seed_tells_the_same_story_twice() -> None:
    first, second = run(4, Mutant.NO_BARRIER), run(4, Mutant.NO_BARRIER)

    assert first.errors
    assert (first.errors, first.topic, first.entries) == (second.errors, second.topic, second.entries)
