"""Files handed to a folder or a bucket are whole or not there.

Seen to fail: with the part file under the final name (`whole_or_not_at_all`, folder and bucket), with part files in
`names`, without the check for `..`, with the secret left in the message.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bucket import bucket
from consent_ledger.runtime.objects import Objects, ObjectsError


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    with bucket("handed-out") as place:
        yield place


@pytest.fixture(params=["folder", "bucket"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        return Objects(str(tmp_path / "out"))
    place: str = request.getfixturevalue("storage")
    return Objects(place.replace("/ledger", f"/{tmp_path.name}"))


def test_a_file_is_read_as_it_was_written(objects: Objects) -> None:
    objects.put("a/b.csv", b"one")
    objects.put("a/b.csv", b"two")

    assert objects.get("a/b.csv") == b"two"
    assert objects.digest("a/b.csv") == hashlib.sha256(b"two").hexdigest()
    assert objects.get("a/c.csv") is None
    assert objects.digest("a/c.csv") is None


def test_whole_or_not_at_all(objects: Objects) -> None:
    objects.put("list", b"old")

    with pytest.raises(ZeroDivisionError), objects.writing("list") as file:  # noqa: PT012 - the block is what fails.
        file.write(b"half of")
        raise ZeroDivisionError

    assert objects.get("list") == b"old"
    assert objects.names() == ["list"]


def test_a_half_written_file_is_not_listed(objects: Objects) -> None:
    with objects.writing("later") as file:
        file.write(b"x")
        assert objects.names() == []
    assert objects.names() == ["later"]


def test_names_stand_under_their_place_and_in_order(objects: Objects) -> None:
    for name in ("b/2", "a/1", "c"):
        objects.put(name, b"")

    assert objects.names() == ["a/1", "b/2", "c"]
    assert objects.names("b") == ["b/2"]
    objects.delete("b/2")
    objects.delete("b/2")
    assert objects.names("b") == []


def test_no_name_leads_out(objects: Objects) -> None:
    with pytest.raises(ObjectsError, match="out of its place"):
        objects.put("../x", b"")


def test_a_wrong_place_says_so_without_its_secret() -> None:
    with pytest.raises(ObjectsError) as raised:
        Objects("s4://key:secret@bucket/x")
    assert "s4://bucket/x" in str(raised.value)
    assert "secret" not in str(raised.value)
