"""Whoever follows changes hears of a new do-not-call list, also where no number of theirs is on record.

Seen to fail: rows under the name of a register left out.
"""

from dnc.line import Line, ago, number
from running import until


async def test_a_new_list_is_a_change_of_everyone(line: Line) -> None:
    async def changes(**more: object) -> dict[str, object]:
        answer = await line.api.client.post("/v1/changes", json={"controllers": [line.caller], **more})
        # Until the horizon has moved for the first time, nothing can be told.
        if answer.status_code == 503:
            return {}
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    cursor = (await until(changes))["cursor"]
    await line.imported(number(), at=ago(days=1))

    async def told() -> list[tuple[object, object, object]]:
        found = (await changes(cursor=cursor)).get("changes", [])
        assert isinstance(found, list)
        return [(one["controller"], one["type"], one["hash"]) for one in found]

    assert set(await until(told)) == {(None, "!dnc", None)}
