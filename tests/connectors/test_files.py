"""A list never leaves out a refusal that it says it knows, is whole or not there, and a missing file is noticed.

Seen to fail:
- an increment without what changed since the one before, or without what time has ended; a removal left out;
- a list made of a stale view, also of nobody, or of half a topic, or one that has grown; the later of two readers'
  instants; never acknowledged, or before it is there; no checksum; another file of the same number after a kill; a
  place that is away given up; old files kept;
- a manifest without the checksum of the file before, or of a shape that its schema does not have;
- what may be done without a record said to be allowed; a dry run that hands out; a column that is not there read;
- contacts that were learnt after their record left out; a gap that is not noticed; what is under way taken for a
  difference.
"""

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bucket import bucket
from client.topic import KEY, NOW, SHOP, address, no, purposes, view_of, yes
from connectors.handed import Handed, read_like_a_stranger
from connectors.test_runner import Acks
from consent_ledger.cli.contract import manifest
from consent_ledger.client.copy import Place
from consent_ledger.connectors.files.connector import FULL_ASKED
from consent_ledger.connectors.files.judge import NotNowError
from consent_ledger.connectors.files.settings import FilesTable
from consent_ledger.connectors.outcome import RefusedError
from consent_ledger.domain.leaf import micros
from consent_ledger.runtime.objects import Objects, ObjectsError

AN, BO, CY = "an@example.be", "bo@example.be", "cy@example.be"


def refused(value: str, version: int = 1) -> tuple[bytes, bytes]:
    return address(value, {"newsletter": {"email": no("CONSENT_WITHDRAWN")}}, version=version)


def allowed(value: str, version: int = 1, **more: Any) -> tuple[bytes, bytes]:
    return address(value, {"newsletter": {"email": yes(**more)}}, version=version)


def line(value: str) -> tuple[str, ...]:
    return (SHOP, "email", KEY.hash("email", value).hex(), "newsletter", "email")


@pytest.fixture
def handed(tmp_path: Path) -> Handed:
    return Handed(tmp_path, str(tmp_path / "out"))


async def test_a_full_list_has_everybody_who_is_refused_and_says_until_when(handed: Handed) -> None:
    handed.say(refused(AN), allowed(BO), address(CY))
    await handed.run()
    (manifest,) = handed.manifests()

    # Cy has a record without consent.
    assert read_like_a_stranger(handed.objects) == {line(AN), line(CY)}
    assert (manifest["kind"], manifest["sequence"], manifest["rows"]) == ("full", 1, 2)
    assert manifest["complete_until"] == "2026-03-01T12:00:00Z"
    assert manifest["unlisted"] == {SHOP: {"newsletter": {"email": False}}}
    assert "20260301T120000Z" in manifest["file"]


async def test_manifests_are_what_their_schema_says(handed: Handed) -> None:
    handed.say(refused(AN))
    await handed.run()
    handed.later(300)
    await handed.run()
    first, second = handed.manifests()
    schema = manifest()

    jsonschema.Draft202012Validator.check_schema(schema)
    for said in (first, second):
        jsonschema.validate(said, schema, cls=jsonschema.Draft202012Validator)
        assert said.keys() == schema["properties"].keys()
    assert (first["previous"], second["previous"]) == (None, first["sha256"])


@pytest.mark.parametrize(
    "wrong", [{"file": "../000000000001-full-20260301T120000Z.csv"}, {"sequence": 0}, {"sha256": "ab"}, {"rows": -1}]
)
async def test_a_manifest_of_another_shape_is_refused(handed: Handed, wrong: dict[str, Any]) -> None:
    handed.say(refused(AN))
    await handed.run()
    (said,) = handed.manifests()
    handed.objects.put(said["file"].replace(".csv", ".json"), json.dumps({**said, **wrong}).encode())

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**said, **wrong}, manifest(), cls=jsonschema.Draft202012Validator)
    with pytest.raises(RefusedError):
        await handed.compare()


async def test_increments_have_what_changed_and_nothing_else(handed: Handed) -> None:
    handed.say(refused(AN), allowed(BO), refused(CY))
    await handed.run()
    handed.later(300)
    handed.say(allowed(AN, 2), refused(BO, 2))
    await handed.run()
    handed.later(300)
    await handed.run()
    first, second, third = handed.manifests()

    assert {tuple(row) for row in handed.rows(second)} == {("remove", *line(AN)), ("add", *line(BO))}
    assert handed.rows(third) == []
    assert [one["previous"] for one in (first, second, third)] == [None, first["sha256"], second["sha256"]]
    assert read_like_a_stranger(handed.objects) == {line(BO), line(CY)}


async def test_no_file_comes_before_its_time(handed: Handed) -> None:
    await handed.run()
    handed.later(299)
    await handed.run()
    handed.later(86_400)
    await handed.run()

    assert [one["kind"] for one in handed.manifests()] == ["full", "full"]


async def test_what_time_alone_ends_is_listed_without_an_event(handed: Handed) -> None:
    handed.say(allowed(AN, until=NOW + timedelta(seconds=200)), allowed(BO, until=NOW + timedelta(seconds=400)))
    await handed.run()
    handed.later(300)
    await handed.run()

    assert read_like_a_stranger(handed.objects) == {line(AN)}


async def test_what_changes_while_a_list_is_made_is_in_the_next(
    handed: Handed, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed.say(allowed(AN), allowed(BO))
    judge = type(handed._judging()[1])
    before = judge.judge
    said = [refused(AN, 2)]

    def late(self: Any, page: Any) -> Any:
        found = before(self, page)
        handed.say(*said)
        said.clear()
        return found

    monkeypatch.setattr(judge, "judge", late)
    await handed.run()
    handed.later(300)
    await handed.run()

    assert read_like_a_stranger(handed.objects) == {line(AN)}


async def test_a_list_is_what_the_view_says_whatever_happens(handed: Handed) -> None:
    chance = random.Random(7)
    people = [f"p{number}@example.be" for number in range(12)]
    version = 1
    for round_ in range(25):
        for value in chance.sample(people, chance.randrange(4)):
            version += 1
            until = NOW + timedelta(seconds=chance.randrange(9000))
            answer = chance.choice([yes(), yes(until=until), no("OBJECTION_DM"), no("UNAVAILABLE")])
            handed.say(address(value, {"newsletter": {"email": answer}}, version=version))
        if round_ % 9 == 8:
            handed.say(purposes(version=round_, needs={"newsletter": round_ // 9}))
        handed.later(chance.choice([300, 700]))
        if chance.random() < 0.2:
            handed.state.note(**{FULL_ASKED: "yes"})
        await handed.run()
        view = view_of(handed.copy, clock=handed.clock)
        known = [one for one in people if KEY.hash("email", one).hex() in str(handed._keys)]
        expected = {line(one) for one in known if not view.decide(SHOP, one, "newsletter", "email")}
        assert read_like_a_stranger(handed.objects) == expected, round_
        if handed.manifests()[-1]["kind"] == "increment":
            assert len(handed.rows(handed.manifests()[-1])) <= len(people)


@pytest.mark.parametrize("people", [[AN], []])
async def test_nothing_is_made_of_what_is_not_known(handed: Handed, people: list[str]) -> None:
    handed.say(*map(refused, people))
    handed.fresh = False
    connector = handed.connector()
    batches = connector.batches(None)
    for _ in range(10):
        await connector.apply((await anext(batches)).items)
    stale = handed.objects.names()
    handed.fresh = True
    await handed.run()

    assert stale == []
    assert len(handed.manifests()) == 1


async def test_of_half_a_topic_no_list_is_made(handed: Handed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.handed.micros", lambda _: micros(NOW - timedelta(minutes=2)))
    connector = handed.connector()
    batches = connector.batches(None)
    for _ in range(10):
        await connector.apply((await anext(batches)).items)

    assert handed.objects.names() == []


async def test_of_a_topic_that_has_grown_no_list_is_made(handed: Handed) -> None:
    place = Place(instant=micros(NOW))

    with pytest.raises(NotNowError, match="more partitions"):
        await handed.connector()._maker.make("full", [place, place], NOW)

    assert handed.objects.names() == []


async def test_the_earlier_of_both_readers_counts_and_is_acknowledged_when_the_file_is_there(
    handed: Handed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.handed.micros", lambda _: micros(NOW - timedelta(seconds=30)))
    reported: list[tuple[int, int]] = []

    class Reporter:
        def applied(self, places: list[Place]) -> None:
            reported.append((places[0].instant, len(handed.manifests())))

    await handed.run(Reporter())  # type: ignore[arg-type]

    assert handed.manifests()[0]["complete_until"] == "2026-03-01T11:59:30Z"
    assert reported == [(micros(NOW - timedelta(seconds=30)), 1)]


async def test_a_place_that_is_away_is_waited_for(handed: Handed, monkeypatch: pytest.MonkeyPatch) -> None:
    left, before, acks = [1, 2], handed.objects.put, Acks()

    def put(name: str, content: bytes) -> None:
        if left:
            left.pop()
            raise ObjectsError("away")
        before(name, content)

    monkeypatch.setattr(handed.objects, "put", put)
    handed.say(refused(AN))
    await handed.run(acks)

    assert left == []
    assert handed.state.parked() == []
    assert read_like_a_stranger(handed.objects) == {line(AN)}
    assert acks.partitions == [0]


async def test_old_files_are_taken_away_with_what_belongs_to_them(handed: Handed) -> None:
    for _ in range(4):
        await handed.run()
        handed.later(300)
        await handed.run()
        handed.later(86_400)

    assert [one["kind"] for one in handed.manifests()] == ["full", "increment"] * 2
    assert len(handed.objects.names()) == 4 * 3
    read_like_a_stranger(handed.objects)


async def test_a_dry_run_hands_out_nothing(handed: Handed) -> None:
    handed.say(refused(AN))
    handed.would = []
    await handed.run()

    assert handed.objects.names() == []
    assert len(handed.would) == 1
    assert "(1 rows)" in handed.would[0]


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from connectors.handed import Handed
from connectors.test_files import refused, AN

path, left = Path(sys.argv[1]), int(sys.argv[2])
handed = Handed(path, str(path / "out"))
writing = handed.objects.writing

def killing(name):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return writing(name)

handed.objects.writing = killing
handed.say(refused(AN))
asyncio.run(handed.run())
"""


@pytest.mark.parametrize("left", [0, 2])
async def test_who_is_killed_hands_out_the_same_file(tmp_path: Path, left: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(left)],
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert ended.returncode == -9
    (spooled,) = (tmp_path / "state" / "spool").iterdir()
    begun = hashlib.sha256(spooled.read_bytes()).hexdigest()
    (tmp_path / "topic").rename(tmp_path / "gone")
    handed = Handed(tmp_path, str(tmp_path / "out"))
    assert handed.manifests() == []
    handed.say(refused(AN), refused(BO))
    handed.later(400)
    await handed.run()

    assert [(one["kind"], one["sequence"]) for one in handed.manifests()] == [("full", 1), ("increment", 2)]
    assert handed.manifests()[0]["sha256"] == begun
    assert read_like_a_stranger(handed.objects) == {line(AN), line(BO)}
    assert list((tmp_path / "state" / "spool").iterdir()) == []


# -- by a tool's own contacts


def sha256(value: str) -> tuple[str, ...]:
    return (hashlib.sha256(value.encode()).hexdigest(),)


@pytest.fixture
def by_contacts(tmp_path: Path) -> Handed:
    contacts = tmp_path / "contacts.csv"
    contacts.write_text(f"name,email\nAn, An@Example.BE \nBo,{BO}\nnobody,no address\n")
    return Handed(tmp_path, str(tmp_path / "out"), contacts=contacts)


async def test_contacts_are_listed_as_ad_platforms_match_them(by_contacts: Handed, tmp_path: Path) -> None:
    by_contacts.say(refused(AN), refused(CY), allowed(BO))
    await by_contacts.run()
    (manifest,) = by_contacts.manifests()

    # Cy is none of the tool's contacts.
    assert read_like_a_stranger(by_contacts.objects) == {sha256(AN)}
    assert (by_contacts.objects.get(manifest["file"]) or b"").startswith(b"email\r\n")
    for path in [*(tmp_path / "state").rglob("*"), *(tmp_path / "out").rglob("*")]:
        assert not path.is_file() or b"example.be" not in path.read_bytes().lower(), path


async def test_a_contact_with_nothing_on_record_is_listed_where_that_is_a_no(by_contacts: Handed) -> None:
    by_contacts.say(allowed(BO))
    await by_contacts.run()

    assert read_like_a_stranger(by_contacts.objects) == {sha256(AN)}


async def test_new_contacts_are_found_and_who_has_left_stays(by_contacts: Handed) -> None:
    by_contacts.say(refused(AN), refused(CY), allowed(BO))
    await by_contacts.run()
    assert by_contacts.contacts is not None
    by_contacts.contacts.write_text(f"email\n{CY}\n")
    by_contacts.later(300)
    await by_contacts.run()
    both = read_like_a_stranger(by_contacts.objects)
    by_contacts.say(allowed(AN, 2))
    by_contacts.later(300)
    await by_contacts.run()

    assert both == {sha256(AN), sha256(CY)}
    assert read_like_a_stranger(by_contacts.objects) == {sha256(CY)}


@pytest.mark.parametrize("content", ["mail\nan@example.be\n", None])
async def test_without_contacts_no_list_is_made(by_contacts: Handed, content: str | None) -> None:
    assert by_contacts.contacts is not None
    by_contacts.contacts.unlink() if content is None else by_contacts.contacts.write_text(content)
    connector = by_contacts.connector()
    batches = connector.batches(None)
    for _ in range(6):
        await connector.apply((await anext(batches)).items)

    assert by_contacts.objects.names() == []


# -- both sides


async def test_a_list_as_it_was_handed_out_differs_in_nothing(handed: Handed) -> None:
    handed.say(refused(AN), allowed(BO))
    await handed.run()
    handed.later(10)
    handed.say(refused(BO, 2))
    counts = await handed.compare()

    assert {what: count for what, count in counts.items() if what.startswith("to be ")} == {
        "to be made again": 0, "to be listed": 0, "to be taken off": 0,
    }  # fmt: skip
    assert counts["pending addresses"] == 1
    assert handed.state.facts().get(FULL_ASKED) == "no"


async def test_who_is_missing_or_too_many_is_found_and_a_full_list_mends_it(handed: Handed) -> None:
    handed.say(refused(AN), refused(BO), allowed(CY))
    await handed.run()
    (manifest,) = handed.manifests()
    text = (handed.objects.get(manifest["file"]) or b"").decode()
    changed = text.replace(KEY.hash("email", AN).hex(), KEY.hash("email", CY).hex()).encode()
    handed.objects.put(manifest["file"], changed)
    broken = await handed.compare()
    digest = hashlib.sha256(changed).hexdigest()
    stem = manifest["file"].removesuffix(".csv")
    handed.objects.put(f"{stem}.json", json.dumps({**manifest, "sha256": digest}).encode())
    handed.objects.put(f"{manifest['file']}.sha256", f"{digest}  {manifest['file']}\n".encode())
    counts = await handed.compare()
    handed.later(1)
    await handed.run()

    assert (broken["to be made again"], broken["to be listed"]) == (1, 2)
    assert [counts[f"to be {what}"] for what in ("made again", "listed", "taken off")] == [0, 1, 1]
    assert [one["kind"] for one in handed.manifests()] == ["full", "full"]
    assert read_like_a_stranger(handed.objects) == {line(AN), line(BO)}


async def test_a_file_that_is_gone_is_noticed(handed: Handed) -> None:
    await handed.run()
    for value in (AN, BO):
        handed.say(refused(value))
        handed.later(300)
        await handed.run()
    middle = handed.manifests()[1]
    for name in (middle["file"], f"{middle['file']}.sha256", middle["file"].replace(".csv", ".json")):
        handed.objects.delete(name)

    counts = await handed.compare()

    assert (counts["to be made again"], counts["to be listed"]) == (1, 1)
    with pytest.raises(AssertionError):
        read_like_a_stranger(handed.objects)


# -- where it goes, and what may be configured


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    with bucket("lists") as place:
        yield place


async def test_a_bucket_is_a_place_too(tmp_path: Path, storage: str) -> None:
    handed = Handed(tmp_path, storage)
    handed.say(refused(AN))
    await handed.run()
    handed.later(300)
    handed.say(refused(BO))
    await handed.run()

    assert read_like_a_stranger(Objects(storage)) == {line(AN), line(BO)}
    assert (await handed.compare())["to be listed"] == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"hashes": "sha256"},
        {"contacts": "c.csv"},
        {"hashes": "sha256", "contacts": "c.csv", "purposes": ("a", "b"), "channels": ("email",)},
        {"hashes": "sha256", "contacts": "c.csv", "purposes": ("a",), "channels": ("internal",)},
    ],
)
def test_a_table_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="sha256"):
        FilesTable(state="s", place="p", keys="k", controllers=("shop-be",), **wrong)
