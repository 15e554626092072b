"""An endpoint is told everything in order, only after it has proved itself, and what it does not take is not forgotten.

Seen to fail:
- a message that fails letting pass those behind it in its lane; an older one put over a newer;
- given up after a few attempts, or never; an endpoint that is away asked without a pause, or earlier than it asked for;
  many failures taken one by one; a waiting refusal acknowledged; "complete" said while something waits;
- 410 passed over; another address taken for proved; a delivery that is not logged; what was told put in line again;
- a purpose or a channel of others told; an id that is another each time; the key of a record, or its value, shown;
- changes of one person each in a lane of their own; what cannot be read passed over; a dry run that sends.
"""

import itertools
import random
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from prometheus_client import REGISTRY

from client.topic import NOW, address, no, purposes, snapshot, yes
from connectors.hooked import DAY, URL, Endpoint, Passing, Source, failing, item, run
from connectors.test_runner import Acks
from consent_ledger.connectors.outcome import AwayError, FailedError, GoneError, RefusedError
from consent_ledger.connectors.runner import Runner
from consent_ledger.connectors.state import Item, State
from consent_ledger.connectors.webhook.connector import WebhookConnector, pause_after
from consent_ledger.connectors.webhook.line import Line
from consent_ledger.domain import webhook
from consent_ledger.domain.published import ChangeRecord
from consent_ledger.domain.webhook import Record, Scope, UnreadableError

SCOPE = Scope(controllers=frozenset({"shop-be"}))


@pytest.fixture
def state(tmp_path: Path) -> State:
    made = State(tmp_path)
    made.note(endpoint="open", proved=URL)
    return made


@pytest.fixture
def clock() -> Passing:
    return Passing()


async def test_messages_go_in_order_and_once(state: State, clock: Passing) -> None:
    endpoint = Endpoint()
    await run(state, endpoint, clock, [item("a"), item("b")], [item("c")])
    await run(state, endpoint, clock, [item("a"), item("b")], [item("c")], [item("d")])

    assert [one for one in endpoint.taken if not one.startswith("{")] == ["a", "b", "c", "d"]


async def test_one_that_fails_holds_up_nobody_and_is_tried_again(state: State, clock: Passing) -> None:
    endpoint = Endpoint(failing(FailedError("status 500"), "b", times=3))
    await run(state, endpoint, clock, [item("a"), item("b"), item("c")])

    assert endpoint.taken[:3] == ["a", "c", "b"]
    assert len(endpoint.attempts) == 3 + 3 + 1


async def test_those_of_one_lane_wait_for_each_other(state: State, clock: Passing) -> None:
    endpoint = Endpoint(failing(FailedError("status 500"), "p/1", times=2))
    await run(state, endpoint, clock, [item("p/1", lane="p"), item("p/2", lane="p", number=2), item("q")])

    assert endpoint.taken[:3] == ["q", "p/1", "p/2"]


async def test_a_later_message_takes_the_place_of_one_that_waits(state: State, clock: Passing) -> None:
    endpoint = Endpoint(failing(FailedError("status 500"), "a1"))
    await run(state, endpoint, clock, [item("a1")], [item("a2", number=2)], [item("a1")])

    assert endpoint.taken[0] == "a2"
    assert "a1" not in endpoint.taken


def test_an_older_message_never_takes_the_place_of_a_later_one(state: State) -> None:
    line = Line(state.connection)
    line.put([item("a2", number=2)])
    line.put([item("a1")])
    (waiting,) = line.due(0.0)
    line.delivered(waiting, NOW, "delivered")
    line.put([item("a2", number=2)])

    assert (waiting.letter.body, line.count()) == (b"a2", 0)


async def test_what_fails_for_a_day_is_parked_and_can_be_sent_by_hand(state: State) -> None:
    clock = Passing()
    endpoint = Endpoint(failing(RefusedError("status 422"), "b"), clock)
    await run(state, endpoint, clock, [item("a"), item("b"), item("c")])
    times = [at for body, at in endpoint.attempts if body == "b"]
    parked = state.parked()
    endpoint.answer = lambda _: None
    state.ask_again()
    await run(state, endpoint, clock, [item("a"), item("b"), item("c")])

    assert [one.item.key for one in parked] == ["b"]
    assert "status 422" in parked[0].reason
    assert DAY <= times[-1] - times[0] <= DAY + 2 * 3600
    assert 20 <= len(times) <= 80
    assert endpoint.taken.count("b") == 1
    assert state.parked() == []


async def test_an_endpoint_that_is_away_is_left_alone_and_nothing_goes_past(state: State) -> None:
    clock = Passing(0.1)
    endpoint = Endpoint(failing(AwayError("status 503"), "a", times=6), clock)
    await run(state, endpoint, clock, [item("a"), item("b"), item("c")])

    assert endpoint.taken[:3] == ["a", "b", "c"]
    times = [at for body, at in endpoint.attempts if body == "a"]
    gaps = [then - now for now, then in itertools.pairwise(times)]
    assert len(times) == 7
    assert all(gap >= 2.5 * 2**number for number, gap in enumerate(gaps))


async def test_many_failures_in_a_row_are_the_endpoints(state: State) -> None:
    clock = Passing(0.1)
    bad = [str(chr(ord("a") + number)) for number in range(20)]
    endpoint = Endpoint(failing(FailedError("status 500"), *bad, times=1), clock)
    await run(state, endpoint, clock, [item(one) for one in bad])

    assert [body for body, _ in endpoint.attempts[:6]] == [*bad[:5], bad[0]]
    assert set(endpoint.taken) >= set(bad)


async def test_an_endpoint_is_given_the_time_it_asks_for(state: State) -> None:
    clock = Passing(1.0)
    endpoint = Endpoint(failing(AwayError("status 429", after=1200.0), "a", times=1), clock)
    await run(state, endpoint, clock, [item("a")])

    first, second = [at for body, at in endpoint.attempts if body == "a"]
    assert second - first >= 1200


def test_pauses_grow_are_spread_and_end_at_an_hour() -> None:
    random.seed(1)
    pauses = [[pause_after(failures) for _ in range(50)] for failures in (1, 5, 40)]

    assert [
        (min(some) >= longest / 2, max(some) <= longest) for some, longest in zip(pauses, (5, 80, 3600), strict=True)
    ]
    assert all(len(set(some)) > 40 for some in pauses)
    assert min(pauses[2]) >= 1800
    assert pause_after(1, 10**9) <= 3600 + 5


async def test_a_refusal_that_waits_is_not_acknowledged(state: State, clock: Passing) -> None:
    acks, held = Acks(), []
    endpoint = Endpoint()

    def answer(body: str) -> None:
        if body == "b":
            held.append(acks.partitions)
            if len(held) <= 2:
                raise FailedError("status 500")

    endpoint.answer = answer
    await run(state, endpoint, clock, [item("a"), item("b", partition=1)], acks=acks)

    assert held == [[], [0, 2], [0, 2]]
    assert acks.partitions == [0, 1, 2]


async def test_complete_is_said_when_it_is_true(state: State, clock: Passing) -> None:
    endpoint = Endpoint(failing(FailedError("status 500"), "b", times=3))
    await run(state, endpoint, clock, [item("a"), item("b")])
    said = msgspec.json.decode(endpoint.taken[2])

    assert endpoint.taken[:2] == ["a", "b"]
    assert (said["type"], said["data"]["instant"]) == ("suppressions.complete", "1970-01-01T00:00:00.000001Z")


async def test_who_is_gone_is_told_nothing_more_until_somebody_says_otherwise(state: State) -> None:
    clock = Passing()
    endpoint = Endpoint(failing(GoneError("status 410"), "a", times=1))
    connector = WebhookConnector("hook", Source([item("a"), item("b")]), state, endpoint, url=URL, clock=clock, rest=0)
    batches = connector.batches(None)
    for _ in range(50):
        await connector.apply((await anext(batches)).items)
    while_gone, waiting = list(endpoint.attempts), connector.line.count()
    state.note(endpoint="open")
    for _ in range(5):
        await connector.apply((await anext(batches)).items)

    assert (len(while_gone), waiting) == (1, 2)
    assert endpoint.taken[:2] == ["a", "b"]


async def test_another_address_must_prove_itself_anew(state: State, clock: Passing) -> None:
    endpoint = Endpoint()
    connector = WebhookConnector("hook", Source([item("a")]), state, endpoint, url=f"{URL}/2", clock=clock, rest=0)
    batches = connector.batches(None)
    for _ in range(5):
        await connector.apply((await anext(batches)).items)

    assert endpoint.attempts == []


async def test_the_log_says_what_became_of_each_message_and_names_nobody(state: State, clock: Passing) -> None:
    endpoint = Endpoint(failing(FailedError("status 500"), "b", times=1))
    connector = await run(state, endpoint, clock, [item("a"), item("b")])

    log = [(one.key, one.attempt, one.outcome) for one in connector.line.log(10)]
    assert log[:3] == [("a", 1, "delivered"), ("b", 1, "status 500"), ("b", 2, "delivered")]


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from connectors.hooked import Endpoint, Passing, State, item, run
directory, fatal = Path(sys.argv[1]), sys.argv[2]

def answer(body):
    with (directory / "calls").open("a") as calls:
        calls.write(body[:1] + "\\n")
    if body == fatal:
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(run(State(directory), Endpoint(answer), Passing(), [item("a"), item("b")], [item("c")]))
"""


def test_who_is_killed_sends_again_what_may_not_have_arrived_and_nothing_else(tmp_path: Path, state: State) -> None:
    state.close()
    for fatal in ("b", "none"):
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path), fatal],
            check=False,
            env={"PYTHONPATH": str(Path(__file__).parents[1])},
        )
        assert ended.returncode == (0 if fatal == "none" else -9)

    calls = [one for one in (tmp_path / "calls").read_text().split() if one != "{"]
    assert calls == ["a", "b", "b", "c"]


# -- what is said


def record(said: tuple[bytes, bytes], partition: int = 0) -> Record:
    return Record(*said, partition, NOW)


AN = address(
    "an@example.be", {"newsletter": {"email": no("CONSENT_WITHDRAWN")}, "invoice": {"email": yes()}}, version=7
)


def test_a_receiver_is_told_of_its_own_purposes_alone() -> None:
    scope = Scope(controllers=frozenset({"shop-be"}), purposes=frozenset({"newsletter"}), channels=frozenset({"email"}))
    letter = webhook.of_suppression(record(AN), scope)
    assert letter is not None
    data = msgspec.json.decode(letter.body)["data"]

    assert {purpose: list(channels) for purpose, channels in data["decisions"].items()} == {"newsletter": ["email"]}
    assert (data["version"], letter.number, letter.refusal) == (7, 7, True)
    for other in (
        Scope(controllers=frozenset({"other"})),
        Scope(controllers=SCOPE.controllers, channels=frozenset({"sms"})),
    ):
        assert webhook.of_suppression(record(AN), other) is None


def channels_told(scope: Scope) -> set[str]:
    letter = webhook.of_suppression(record(AN), scope)
    assert letter is not None
    return {
        channel for channels in msgspec.json.decode(letter.body)["data"]["decisions"].values() for channel in channels
    }


def test_a_receiver_is_told_of_its_own_channels_alone() -> None:
    assert channels_told(SCOPE) > {"email"}
    assert channels_told(Scope(controllers=SCOPE.controllers, channels=frozenset({"email"}))) == {"email"}


def test_defaults_and_call_registers_are_told_too() -> None:
    defaults = webhook.of_suppression(record(purposes(needs={"newsletter": 3, "calls": 2})), SCOPE)
    narrow = webhook.of_suppression(record(purposes(needs={"newsletter": 3, "calls": 2})),
        Scope(controllers=SCOPE.controllers, purposes=frozenset({"newsletter"})))  # fmt: skip
    register = [webhook.of_suppression(record(snapshot(NOW), partition), SCOPE) for partition in (0, 1)]
    assert defaults is not None
    assert narrow is not None
    assert register[0] is not None
    assert register[1] is not None

    assert msgspec.json.decode(defaults.body)["data"]["needs"] == {"newsletter": 3, "calls": 2}
    assert msgspec.json.decode(narrow.body)["data"]["needs"] == {"newsletter": 3}
    assert list(msgspec.json.decode(narrow.body)["data"]["decisions"]) == ["newsletter"]
    assert register[0].key != register[1].key
    assert msgspec.json.decode(register[1].body)["data"]["partition"] == 1


def change(seq: int, *, controller: str = "shop-be", purpose: str = "newsletter") -> Record:
    entry = {
        "id": "018f0000-0000-7000-8000-000000000001", "shard": 1, "position": 2, "type": "consent-withdrawn",
        "source": "web", "occurred_at": NOW, "recorded_at": NOW, "purposes": [purpose], "channels": None,
    }  # fmt: skip
    value = {"controller": controller, "dossier": 5, "merged_from": [], "seq": seq, "entry": entry, "addresses": []}
    msgspec.convert(value, ChangeRecord)
    return Record(f"{controller}/5".encode(), msgspec.json.encode(value), 0, NOW)


def test_changes_of_one_person_are_a_lane() -> None:
    first, second = (webhook.of_change(change(seq), SCOPE) for seq in (1, 2))
    assert first is not None
    assert second is not None

    assert first.lane == second.lane
    assert first.key != second.key
    assert "shop-be/5" not in first.key
    assert webhook.of_change(change(1, controller="other"), SCOPE) is None
    newsletter = Scope(controllers=SCOPE.controllers, purposes=frozenset({"newsletter"}))
    assert webhook.of_change(change(1), newsletter) is not None
    assert webhook.of_change(change(1, purpose="invoice"), newsletter) is None


def test_a_message_is_known_again_by_its_id_and_names_no_hash_outside() -> None:
    one, same = (webhook.of_suppression(record(AN), SCOPE) for _ in range(2))
    later = webhook.of_suppression(record(address("an@example.be", version=8)), SCOPE)
    assert one is not None
    assert same is not None
    assert later is not None

    assert one.id == same.id != later.id
    assert one.key == later.key
    assert AN[0].decode().rpartition("/")[2] not in one.key + one.lane + one.id


def test_a_record_of_no_known_shape_is_an_error_that_quotes_nothing() -> None:
    with pytest.raises(UnreadableError) as raised:
        webhook.of_suppression(Record(b"shop-be/email/00", b'{"controller": "an@example.be"}', 0, NOW), SCOPE)
    assert "example" not in str(raised.value)


async def test_what_cannot_be_read_is_parked_and_the_rest_is_sent(state: State, clock: Passing) -> None:
    endpoint = Endpoint()
    bad = Item(key="unreadable/0/7", value=b"not readable: ValidationError", partitions=(0,))
    await run(state, endpoint, clock, [item("a"), bad, item("b")])

    assert sorted(endpoint.taken) == ["a", "b"]
    assert [one.reason for one in state.parked()] == ["not readable: ValidationError"]


async def test_a_dry_run_sends_nothing(tmp_path: Path, clock: Passing) -> None:
    would: list[str] = []
    state, endpoint = State(tmp_path, dry=True), Endpoint()
    connector = WebhookConnector(
        "hook", Source([item("a"), item("b")]), state, endpoint, url=URL, would=would, clock=clock, rest=0
    )
    await Runner("hook", connector, state).run(once=True)

    assert endpoint.attempts == []
    assert would[:2] == ["send a (a no)", "send b (a no)"]
    assert datetime.fromtimestamp(clock(), UTC) > NOW


def test_alerts_are_about_metrics_that_exist() -> None:
    alerts = (Path(__file__).parents[2] / "deploy" / "alerts" / "webhooks.yml").read_text("utf-8")
    known = {metric.name for metric in REGISTRY.collect()}
    named = set(re.findall(r"\bconsent_webhook_[a-z]+", alerts))

    assert len(named) == 2
    assert named <= known
