"""Lists of addresses: what counts as header, column and address; rows unchanged.

Seen to fail: the header read with commas whatever the delimiter is; a row cut at a line end within quotes; the list
written under its own name from the start.
"""

import io
from pathlib import Path

import pytest

from consent_ledger.cli.lists import Row, Sheet, written_whole


def read(text: str) -> tuple[str, list[Row]]:
    sheet = Sheet(io.StringIO(text, newline=""))
    return sheet.header, [row for chunk in sheet.chunks(2) for row in chunk]


@pytest.mark.parametrize(
    ("text", "header", "addresses"),
    [
        ("a@example.be\nb@example.be\n", "", ["a@example.be", "b@example.be"]),
        ("+32 470 11 22 33,An\n", "", ["+32 470 11 22 33"]),
        ("address\na@example.be\n", "address\n", ["a@example.be"]),
        ("\ufeffEmail;Name\r\na@example.be;An\r\n", "\ufeffEmail;Name\r\n", ["a@example.be"]),
        ("name,address\nAn,a@example.be\n", "name,address\n", ["a@example.be"]),
        ("name\taddress\nAn\ta@example.be\n", "name\taddress\n", ["a@example.be"]),
        ("contact,name\na@example.be,An\n", "contact,name\n", ["a@example.be"]),
        ("name,address\nAn\n", "name,address\n", [None]),
        ("name,address\nAn, a@example.be \n", "name,address\n", ["a@example.be"]),
        ("address\na\udce9@example.be\n", "address\n", [None]),
        ("", "", []),
        ("address\n\n\na@example.be\n", "address\n", ["a@example.be"]),
    ],
)  # fmt: skip
def test_addresses_are_found_in_their_column(text: str, header: str, addresses: list[str | None]) -> None:
    found, rows = read(text)

    assert found == header
    assert [row.address for row in rows] == addresses


def test_a_row_is_kept_as_it_stands_with_quotes_and_line_ends() -> None:
    rows = ['"Pee\nters, An";a@example.be\r\n', 'x;"a""b@example.be"\n', "last;c@example.be"]

    header, found = read("".join(["name;address\n", *rows]))

    assert header + "".join(row.raw for row in found) == "".join(["name;address\n", *rows])
    assert [row.raw for row in found] == rows


def write_and_fail(path: Path) -> None:
    with written_whole(path, None) as (output, nothing):
        assert output is not None
        assert nothing is None
        output.write("a@example.be\n")
        raise RuntimeError("the API is gone")


def test_half_a_list_never_takes_the_place_of_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "allowed.csv"
    path.write_text("of yesterday\n")

    with pytest.raises(RuntimeError, match="the API is gone"):
        write_and_fail(path)

    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "of yesterday\n"
