"""What one poll brings of several shards is appended together, and alone where that cannot be.

Seen to fail: no way back to appending alone (the event that two shards hold is never recorded).
"""

from pathlib import Path

from builders import email, given
from running import installation, serving


async def test_an_event_that_two_shards_hold_counts_once(
    kafka: str, postgres: str, template: str, tmp_path: Path
) -> None:
    async with installation(kafka, postgres, template, tmp_path) as made:
        twice = given(email("twice@example.be"))
        places = [await made.load_register()]
        places += await made.publish_together(given(email("first@example.be")), twice, shard=1)
        places += await made.publish_together(twice, given(email("second@example.be")), shard=2)

        async with serving(made.recorder().run()) as recorder:
            await made.recorded(*places, service=recorder)
            later = [await made.publish(given(), shard=1), await made.publish(given(), shard=2)]
            await made.recorded(*later, service=recorder)

        heads = await made.fetch("SELECT sum(next_pos) AS entries, sum(duplicates) AS duplicates FROM shard_head")
        rows = await made.fetch("SELECT FROM ledger WHERE event_id = $1", twice["id"])
        assert (heads[0]["entries"], heads[0]["duplicates"]) == (6, 1)
        assert len(rows) == 1
