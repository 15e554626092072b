"""An export is what was sealed, it grows, and whatever is done to it is found and named, without any database.

Seen to fail: files that the manifest does not name passed over, digests of files not compared, the root not compared,
the stored hash or the one kept beside not compared, gaps between segments and missing files passed over; the edge of a
range believed, older checkpoints not asked; a ledger exported that does not give the root; what a run has left kept;
another history gone on with.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bucket import bucket
from consent_ledger.domain.leaf import leaf_hash
from consent_ledger.runtime.objects import Objects
from consent_ledger.sealer import export as exporting
from consent_ledger.sealer.export import Exported, OtherLogError, export
from consent_ledger.store import log as store
from consent_ledger.store import replay
from consent_ledger.store.log import LogDamagedError
from consent_ledger.verifier.export import Checked, check_export
from consent_ledger.verifier.note import VerifierKey, open_checkpoint
from consent_ledger.verifier.tree import ProofError
from log.sealing import ORIGIN, Log, logging

SEALED = ((0, 5), (1, 300), (2, 40)), ((2, 3), (1, 10)), ((1, 200), (2, 150))
SIZES = (345, 358, 708)


class Made(NamedTuple):
    log: Log
    key: VerifierKey
    place: Path


@pytest.fixture(scope="module")
async def made(
    kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Made]:
    """A log of 708 entries by three checkpoints, exported by two runs: segments of at most 200 entries."""
    path = tmp_path_factory.mktemp("export")
    patch = pytest.MonkeyPatch()
    patch.setattr(exporting, "_SEGMENT_ENTRIES", 200)
    patch.setattr(exporting, "_PIECE", 64)
    async with logging(kafka, postgres, template, path) as log:
        for parts in SEALED:
            for shard, number in parts:
                await log.append(number, shard=shard)
            await log.seal()
        await log.append(4)
        first = await exported(log, path / "out", size=358)
        second = await exported(log, path / "out")
        assert (first, second) == (
            Exported(entries=358, segments=2, size=358), Exported(entries=350, segments=2, size=708)
        )  # fmt: skip
        yield Made(log, VerifierKey.parse((await log.key()).public), path / "out")
    patch.undo()


async def exported(log: Log, place: Path | str, **options: Any) -> Exported:
    async with replay.reading(log.settings.dsn) as connection:
        return await export(connection, str(place), ORIGIN, **options)


def test_an_export_is_what_was_sealed(made: Made) -> None:
    checked = check_export(str(made.place), made.key)

    assert checked.finding is None
    assert (checked.entries, checked.checkpoint.size) == (708, 708)


async def test_a_run_with_nothing_new_changes_nothing(made: Made, tmp_path: Path) -> None:
    before = {one: one.read_bytes() for one in made.place.rglob("*") if one.is_file()}

    again = await exported(made.log, made.place)
    await exported(made.log, tmp_path / "whole")
    await exported(made.log, tmp_path / "again")

    assert again == Exported(entries=0, segments=0, size=708)
    assert {one: one.read_bytes() for one in made.place.rglob("*") if one.is_file()} == before
    assert contents(tmp_path / "whole") == contents(tmp_path / "again")


def contents(place: Path) -> dict[str, bytes]:
    return {str(one.relative_to(place)): one.read_bytes() for one in place.rglob("*") if one.is_file()}


async def test_what_a_run_that_was_cut_off_has_left_goes_with_the_next(made: Made, tmp_path: Path) -> None:
    await exported(made.log, tmp_path, size=345)
    before = contents(tmp_path)
    shutil.copy(tmp_path / "segments/000000000000-000000000200.parquet", tmp_path / "segments/000000000345-9.parquet")
    found = check_export(str(tmp_path), made.key).finding

    await exported(made.log, tmp_path, size=345)

    assert found is not None
    assert found.what == "added"
    assert contents(tmp_path) == before


async def test_a_range_begins_after_a_checkpoint(made: Made, tmp_path: Path) -> None:
    done = await exported(made.log, tmp_path, after=345, size=358)
    checked = check_export(str(tmp_path), made.key)
    await exported(made.log, tmp_path)
    whole = check_export(str(tmp_path), made.key)

    assert (done.entries, checked.finding, checked.entries) == (13, None, 13)
    assert (whole.finding, whole.entries) == (None, 363)
    with pytest.raises(OtherLogError, match="begins elsewhere"):
        await exported(made.log, tmp_path, after=358)
    with pytest.raises(OtherLogError, match="no checkpoint of just 346"):
        await exported(made.log, tmp_path / "other", after=346)
    manifest = read(tmp_path)
    for edge in ([], [["00" * 32] * (345 % 256), ["00" * 32]]):
        write(tmp_path, {**manifest, "start": {**manifest["start"], "edge": edge}})
        with pytest.raises(ProofError, match=r"no edge|does not begin"):
            check_export(str(tmp_path), made.key)


async def test_in_a_bucket_it_is_the_same(made: Made) -> None:
    with bucket("exports") as place:
        await exported(made.log, place)
        checked = check_export(place, made.key)
        Objects(place).delete("segments/000000000200-000000000400.parquet")
        cut = check_export(place, made.key)

    assert (checked.finding, checked.entries) == (None, 708)
    assert cut.finding is not None
    assert (cut.finding.what, cut.finding.leaf_index) == ("removed", 200)


# -- what is done to an export


def read(place: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((place / "manifest.json").read_bytes())
    return manifest


def write(place: Path, manifest: dict[str, Any]) -> None:
    (place / "manifest.json").write_text(json.dumps(manifest))


def rows_of(place: Path, number: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(place / read(place)["segments"][number]["name"]).to_pylist()
    return rows


def put(place: Path, number: int, rows: list[dict[str, Any]], *, told: bool = False, **options: Any) -> None:
    """Write other entries into a segment; `told`: the manifest gets their digest."""
    manifest = read(place)
    segment = manifest["segments"][number]
    schema = pq.read_schema(place / segment["name"])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), place / segment["name"], **options)
    if told:
        segment["sha256"] = sha256((place / segment["name"]).read_bytes()).hexdigest()
        write(place, manifest)


def altered(place: Path) -> None:
    rows = rows_of(place, 1)
    rows[50]["body"] = rows[50]["body"].replace("shop-be", "shop-nl")
    put(place, 1, rows, told=True)


def altered_hash(place: Path) -> None:
    rows = rows_of(place, 1)
    rows[50]["leaf_hash"] = bytes(32)
    put(place, 1, rows, told=True)


def removed(place: Path) -> None:
    rows = rows_of(place, 1)
    del rows[50]
    put(place, 1, rows, told=True)


def removed_and_moved_up(place: Path) -> None:
    rows = rows_of(place, 1)
    del rows[50]
    for row in rows[50:]:
        row["position"] -= 1
    put(place, 1, rows, told=True)


def added(place: Path) -> None:
    rows = rows_of(place, 1)
    rows.insert(50, {**rows[50], "event_id": "0199c3a0-5b00-7000-8000-000000000001"})
    put(place, 1, rows, told=True)


def swapped(place: Path) -> None:
    rows = rows_of(place, 1)
    rows[50], rows[60] = rows[60], rows[50]
    put(place, 1, rows, told=True)


def anew(place: Path) -> None:
    """An entry is changed, and so is everything that is said of it, as far as that needs no key."""
    rows = rows_of(place, 1)
    manifest = read(place)
    segment = manifest["segments"][1]
    leaves = bytearray((place / segment["leaves"]).read_bytes())
    rows[50] = {**rows[51], "position": rows[50]["position"]}
    leaves[50 * 32 : 51 * 32] = rows[50]["leaf_hash"] = leaf(rows[50])
    (place / segment["leaves"]).write_bytes(leaves)
    segment["leaves_sha256"] = sha256(leaves).hexdigest()
    write(place, manifest)
    put(place, 1, rows, told=True)


def leaf(row: dict[str, Any]) -> bytes:
    return leaf_hash(
        shard=row["shard"], position=row["position"], event_id=UUID(row["event_id"]), type=row["type"],
        occurred_at=row["occurred_at"], recorded_at=row["recorded_at"], offset=row["kafka_offset"],
        register_version=row["register_version"], body=row["body"].encode(), commitment=row["commitment"],
        tags=row["tags"],
    )  # fmt: skip


def other_bytes(place: Path) -> None:
    put(place, 1, rows_of(place, 1), compression="gzip")


def garbage(place: Path) -> None:
    path = place / read(place)["segments"][1]["name"]
    path.write_bytes(path.read_bytes()[:-100])


def other_leaf(place: Path) -> None:
    path = place / read(place)["segments"][1]["leaves"]
    content = bytearray(path.read_bytes())
    content[50 * 32] ^= 1
    path.write_bytes(content)


def gone(kind: str) -> Callable[[Path], None]:
    return lambda place: (place / read(place)["segments"][1][kind]).unlink()


def without(number: int) -> Callable[[Path], None]:
    def edit(place: Path) -> None:
        manifest = read(place)
        segment = manifest["segments"].pop(number)
        for kind in ("name", "leaves"):
            (place / segment[kind]).unlink()
        write(place, manifest)

    return edit


def stranger(place: Path) -> None:
    (place / "segments" / "more.parquet").write_bytes(b"")


def turned(place: Path) -> None:
    manifest = read(place)
    manifest["segments"][1:3] = manifest["segments"][2:0:-1]
    write(place, manifest)


@pytest.mark.parametrize(
    ("edit", "what", "index", "words"),
    [
        (altered, "altered", 250, "not what was sealed"),
        (altered_hash, "checkpoint", 250, "as they were sealed"),
        (removed, "removed", 250, "gone"),
        (removed_and_moved_up, "removed", 250, "moved up"),
        (added, "added", 250, "never sealed"),
        (swapped, "reordered", 250, "another entry"),
        (anew, "altered", None, "made anew"),
        (other_bytes, "altered", 200, "not the one that the manifest was made for"),
        (garbage, "altered", 200, "cannot be read"),
        (other_leaf, "checkpoint", 250, "as they were sealed"),
        (gone("name"), "removed", 200, "is gone"),
        (gone("leaves"), "removed", 200, "is gone"),
        (without(1), "removed", 200, "does not follow"),
        (without(3), "truncated", 558, "708 entries"),
        (stranger, "added", None, "more.parquet"),
        (turned, "removed", 200, "does not follow"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_whatever_is_done_to_it_is_found_and_named(
    made: Made, tmp_path: Path, edit: Callable[[Path], None], what: str, index: int | None, words: str
) -> None:
    shutil.copytree(made.place, tmp_path / "out")
    edit(tmp_path / "out")

    finding = check_export(str(tmp_path / "out"), made.key).finding

    assert finding is not None, "nobody would see it"
    assert (finding.what, finding.leaf_index) == (what, index), finding
    assert words in finding.detail


async def test_a_checkpoint_kept_elsewhere_tells_of_what_was_cut_off(made: Made, tmp_path: Path) -> None:
    await exported(made.log, tmp_path, size=358)
    later = open_checkpoint((await made.log.last()).note, made.key)

    checked: Checked = check_export(str(tmp_path), made.key, [later])

    assert checked.finding is not None
    assert (checked.finding.what, checked.finding.leaf_index) == ("truncated", 358)


def test_what_somebody_else_has_signed_is_not_believed(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.place, tmp_path / "out")
    manifest = read(tmp_path / "out")
    write(tmp_path / "out", {**manifest, "checkpoints": [manifest["checkpoints"][0].replace("358", "357")]})

    with pytest.raises(ProofError, match="is wrong"):
        check_export(str(tmp_path / "out"), made.key)
    with pytest.raises(ProofError, match="manifest is missing"):
        check_export(str(tmp_path / "nothing"), made.key)


async def test_a_ledger_that_is_not_what_was_sealed_is_not_exported(made: Made, tmp_path: Path) -> None:
    superuser = made.log.made.superuser
    undo = superuser.transaction()
    await undo.start()
    try:
        await superuser.execute("SET LOCAL session_replication_role = replica")
        await superuser.execute("UPDATE ledger SET leaf_hash = sha256('x') WHERE shard = 1 AND pos = 7")
        with pytest.raises(LogDamagedError, match="root that was signed"):
            await export(superuser, str(tmp_path), ORIGIN)
    finally:
        await undo.rollback()
    assert not (tmp_path / "manifest.json").exists()


async def test_another_log_does_not_go_on_with_an_export(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.place, tmp_path / "out")
    async with replay.reading(made.log.settings.dsn) as connection:
        with pytest.raises(OtherLogError, match="an export of the log"):
            await export(connection, str(tmp_path / "out"), "other.example/log")
    manifest = read(tmp_path / "out")
    write(tmp_path / "out", {**manifest, "checkpoints": [manifest["checkpoints"][0]]})
    with pytest.raises(OtherLogError, match="another history"):
        await exported(made.log, tmp_path / "out")


def test_the_example_for_duckdb_answers(made: Made) -> None:
    script = Path(__file__).parents[2] / "deploy" / "examples" / "ledger.sql"
    with duckdb.connect() as database:
        database.execute(f"SET file_search_path = '{made.place}'")
        answers = [database.execute(one.query).fetchall() for one in database.extract_statements(script.read_text())]

    assert [(row[1], row[2]) for row in answers[1]] == [("consent-given", 708)]
    assert answers[2] == [("shop-be", None, 708)]
    assert answers[3][0][0] == "consent-given"
    assert answers[4] == []


async def test_it_is_checked_without_anything_of_ours(made: Made, tmp_path: Path) -> None:
    settings = made.log.settings
    known = {
        **os.environ,
        "CONSENT_DATABASE_URL": settings.dsn,
        "CONSENT_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers or "",
        "CONSENT_KEY_FILE": str(settings.key_file),
        "CONSENT_LOG_ORIGIN": ORIGIN,
    }
    alone = {name: os.environ[name] for name in ("PATH",)}
    place = str(tmp_path / "out")

    done = consent(known, "export", "ledger", place)
    key = consent(known, "keys", "log-public")["verifier_key"]
    sound = consent(alone, "verify", "--export", place, "--key", key)
    stranger(tmp_path / "out")
    edited = consent(alone, "verify", "--export", place, "--key", key, status=1)

    last = await store.last(made.log.made.superuser)
    assert last is not None
    assert (done["entries"], sound["ok"], sound["entries"], sound["root"]) == (708, True, 708, last.root.hex())
    assert edited["finding"]["what"] == "added"


def consent(variables: dict[str, str], *arguments: str, status: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "consent_ledger.cli.main", *arguments, "--json"],
        env=variables, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said
