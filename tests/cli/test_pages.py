"""Pages: every word in every language, the same bytes every time, and texts from outside that stay texts.

Seen to fail: a label without its translation; a placeholder lost in one; a PDF without a date of its own.
"""

import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from cli.test_export_subject import words
from consent_ledger.cli.pages import labels
from consent_ledger.cli.pages.html import html
from consent_ledger.cli.pages.page import Page, Section, plain
from consent_ledger.cli.pages.pdf import pdf
from consent_ledger.cli.pages.words import LANGUAGES, LOCALE, Words
from consent_ledger.domain.access import RIGHTS
from consent_ledger.domain.catalogue import SHAPES
from consent_ledger.domain.identifiers import TYPES
from consent_ledger.domain.reasons import RULES
from consent_ledger.domain.register_checks import BASES, CHANNELS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FOREIGN = [language for language in LANGUAGES if language != "en"]
# Not about a person, or told in a section of their own.
UNTOLD = {"subject-viewed", "retention-run", "rebuild-run", "purpose-registered", "register-loaded", "text-registered",
          "preference-register-imported", "erasure-carried-out"}  # fmt: skip


def page(text: str) -> Page:
    section = Section(title=text, lines=[text], facts=[(text, text)], columns=("a", text), rows=[(text, "b")])
    return Page(language="en", title=text, lead=[text], sections=[section])


def catalogue(language: str) -> Catalog:
    with (LOCALE / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language)


def labelled() -> Iterator[str]:
    known: tuple[Mapping[str, str], ...] = (
        labels.EVENTS, labels.BASES, labels.CHANNELS, labels.IDENTIFIERS, labels.RIGHTS,
    )  # fmt: skip
    for one in known:
        yield from one.values()
    yield from (rule.text for rule in RULES.values())


def test_every_code_that_a_person_may_meet_has_a_label() -> None:
    assert labels.EVENTS.keys() == SHAPES.keys() - UNTOLD
    assert labels.BASES.keys() == set(BASES)
    assert labels.CHANNELS.keys() == set(CHANNELS)
    assert labels.IDENTIFIERS.keys() == set(TYPES)
    assert labels.RIGHTS.keys() == set(RIGHTS)


@pytest.mark.parametrize("language", FOREIGN)
def test_every_word_is_translated_and_keeps_its_places(language: str) -> None:
    messages = {str(one.id): str(one.string) for one in catalogue(language) if one.id}

    said = re.findall(r'words\(\s*"((?:[^"\\]|\\.)*)"', (LOCALE.parent / "subject.py").read_text())
    assert set(labelled()) <= messages.keys()
    assert all(any(one.startswith(text) for one in messages) for text in said)
    for english, translated in messages.items():
        assert translated, english
        assert set(re.findall(r"{\w+}", english)) == set(re.findall(r"{\w+}", translated)), english
    assert {one.id for one in catalogue(language)} == {one.id for one in catalogue("nl")}


def test_an_instant_is_written_as_people_write_it_where_the_controller_is() -> None:
    summer = "2026-07-01T22:30:00Z"

    assert Words("nl", "Europe/Brussels").instant(summer) == "2 juli 2026, 00:30:00 CEST"
    assert Words("de", "Europe/Berlin").instant(summer) == "2. Juli 2026, 00:30:00 MESZ"
    assert Words("fr", "UTC").instant(NOON) == "1 mars 2026, 12:00:00 TU"
    assert Words("en", "Europe/Brussels").instant("9999-12-31T23:59:59Z") == "9999-12-31T23:59:59+00:00"


def test_values_are_put_into_a_text_and_never_read_as_one() -> None:
    told = Words("nl")("Use: {purpose}", purpose="{purpose.__class__} {0} %s")

    assert told == "Gebruik: {purpose.__class__} {0} %s"


def test_a_pdf_is_the_same_bytes_every_time_and_long_texts_run_over_pages() -> None:
    long = page("x" * 5_000)

    first, second = pdf(long, NOON), pdf(long, NOON)

    assert first == second
    reader = PdfReader(io.BytesIO(first))
    assert len(reader.pages) > 3
    assert words(first).count("x") >= 6 * 5_000


@settings(max_examples=100)
@given(st.text())
def test_whatever_a_text_is_it_is_shown_as_a_text(text: str) -> None:
    shown = html(page(plain(text))).decode()

    told = re.search(r"<h2>(.*?)</h2>", shown, re.DOTALL)
    assert told is not None
    assert "<" not in told[1]
    assert ">" not in told[1]
    assert all(one.isprintable() or one in "\u200c\u200d" for one in plain(text))


@settings(max_examples=8)
@given(st.text(max_size=40))
def test_any_text_can_be_written_as_pdf(text: str) -> None:
    assert pdf(page(plain(text)), NOON).startswith(b"%PDF")
