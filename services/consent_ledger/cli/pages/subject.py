"""The pages for a person who asks: what a controller holds of them, and what they have provided."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from consent_ledger.cli.pages import labels
from consent_ledger.cli.pages.page import Page, Section, plain
from consent_ledger.cli.pages.words import Words
from consent_ledger.domain.access import Access, Address, Happened, Portability, Processing
from consent_ledger.runtime.calendars import zone

# Told in words of their own, or of no use to a reader.
_NOT_DETAILS: Final = frozenset({"schema_version", "api_key", "digest", "text_hash"})


def access_page(told: Access, language: str) -> Page:
    """Lay out the answer to a request for access (Art. 15)."""
    words = Words(language, zone(told.controller.country))
    name = plain(told.controller.name)
    lead = [
        words("This is what {controller} holds about you, and what it does with it. Made on {instant}.",
              controller=name, instant=words.instant(told.made_at)),
    ]  # fmt: skip
    sections = [
        _known(told, words),
        *(_processing(one, words) for one in told.processing),
        _answers(told, words),
        _events(told, words),
        _suppression(told, words),
        _looks(told, words),
        _rights(told, words),
    ]
    title = words("Your personal data at {controller}", controller=name)
    return Page(language=language, title=title, lead=lead, sections=[one for one in sections if one is not None])


def portability_page(told: Portability, language: str) -> Page:
    """Lay out what a person has provided (Art. 20); the file beside it is for programs."""
    words = Words(language, zone(told.controller.country))
    name = plain(told.controller.name)
    rows = [
        (
            words.instant(one.occurred_at),
            _label(words, labels.EVENTS, one.type),
            _details(words, one.identifiers, one.said),
        )
        for one in told.provided
    ]
    return Page(
        language=language,
        title=words("The data you provided to {controller}", controller=name),
        lead=[
            words("These are the data that you gave yourself, for uses that rest on your consent or on a contract. "
                  "Made on {instant}.", instant=words.instant(told.made_at)),
        ],
        sections=[
            Section(
                title=words("What you provided"),
                lines=[] if rows else [words("Nothing.")],
                columns=(words("When"), words("What"), words("Details")),
                rows=rows,
            )
        ],
    )  # fmt: skip


def _known(told: Access, words: Words) -> Section:
    rows = [
        (
            _label(words, labels.IDENTIFIERS, one.type),
            _value(words, one.value),
            words("asked about") if one.asked else words("linked to it"),
        )
        for one in told.identifiers
    ]
    sources = ", ".join(map(plain, told.sources))
    return Section(
        title=words("How you are known"),
        lines=[words("Not all of it came from you. It also came from: {sources}.", sources=sources)] if sources else [],
        columns=(words("Kind"), words("Value"), ""),
        rows=rows,
    )


def _processing(one: Processing, words: Words) -> Section:
    unsaid = words("not stated")
    categories = ", ".join(map(plain, one.categories or ())) or unsaid
    recipients = ", ".join(map(plain, one.recipients)) or unsaid
    facts = [
        (words("What for"), plain(one.aim) if one.aim else unsaid),
        (words("On the basis of"), _label(words, labels.BASES, one.basis)),
        (words("Over"), ", ".join(_label(words, labels.CHANNELS, channel) for channel in one.channels)),
        (words("Kinds of data"), categories),
        (words("Who receives them"), recipients),
        (words("How long they are kept"), plain(one.retention) if one.retention else unsaid),
        (words("Profiling"), plain(one.profiling) if one.profiling else unsaid),
        (words("Outside the European Economic Area"), plain(one.third_countries) if one.third_countries else unsaid),
    ]
    return Section(title=words("Use: {purpose}", purpose=plain(one.purpose)), facts=facts)


def _answers(told: Access, words: Words) -> Section:
    rows = [
        (
            _value(words, one.value), plain(one.purpose), _label(words, labels.CHANNELS, one.channel),
            words("yes") if one.allow else words("no"), f"{words(one.text)} ({', '.join(one.articles)})",
        )
        for one in told.answers
    ]  # fmt: skip
    columns = (words("Address"), words("Use"), words("Over"), words("Allowed"), words("Why"))
    return Section(title=words("Whether your addresses may be used now"), columns=columns, rows=rows)


def _events(told: Access, words: Words) -> Section:
    lines = [words("Some addresses are left out, because they belong to somebody else.")] if told.withheld else []
    rows = [
        (
            words.instant(one.occurred_at), words.instant(one.recorded_at), _label(words, labels.EVENTS, one.type),
            plain(one.source), _marked(words, one),
        )
        for one in told.events
    ]  # fmt: skip
    columns = (words("When"), words("Recorded"), words("What"), words("Source"), words("Details"))
    return Section(title=words("What is on record"), lines=lines, columns=columns, rows=rows)


def _marked(words: Words, one: Happened) -> str:
    marks = []
    if one.voided:
        marks.append(words("without effect: it was found to be a mistake"))
    if one.personal == "erased":
        marks.append(words("erased"))
    if one.entered_by == "staff":
        marks.append(words("entered by staff"))
    details = _details(words, one.identifiers, one.said)
    return "; ".join([part for part in (details, *marks) if part])


def _suppression(told: Access, words: Words) -> Section | None:
    if not told.suppression:
        return None
    rows = [
        (_label(words, labels.IDENTIFIERS, one.type), _value(words, one.value), one.hash) for one in told.suppression
    ]
    return Section(
        title=words("Kept so that you stay undisturbed"),
        lines=[words("A keyed hash of each address is kept, so that what you refused stays refused (Art. 21(3)).")],
        columns=(words("Kind"), words("Value"), words("Keyed hash")),
        rows=rows,
    )


def _looks(told: Access, words: Words) -> Section | None:
    if not told.looks:
        return None
    rows = [
        (words.instant(one.recorded_at), words("staff"), plain(one.reason) if one.reason else words("erased"))
        for one in told.looks
    ]
    columns = (words("When"), words("Who"), words("Why"))
    return Section(title=words("Who has looked at your data"), columns=columns, rows=rows)


def _rights(told: Access, words: Words) -> Section:
    lines = [words("You have the right:"), *(f"• {words(labels.RIGHTS[one])}" for one in told.rights)]
    if told.authority is not None:
        lines.append(words("The supervisory authority is: {authority}.", authority=told.authority))
    party = told.controller
    facts = [
        (words("Controller"), ", ".join(plain(one) for one in (party.name, party.country) if one)),
        (words("Contact"), plain(party.contact) if party.contact else words("not stated")),
        (words("Data protection officer"), plain(party.dpo) if party.dpo else words("not stated")),
    ]
    return Section(title=words("Your rights"), lines=lines, facts=facts)


def _details(words: Words, identifiers: Sequence[Address], said: Mapping[str, Any]) -> str:
    named = [
        f"{_label(words, labels.IDENTIFIERS, one.type)} "
        + (words("of somebody else") if one.withheld else _value(words, one.value))
        for one in identifiers
    ]
    rest = [f"{plain(name)}: {_said(value)}" for name, value in sorted(said.items()) if name not in _NOT_DETAILS]
    return "; ".join([*named, *rest])


def _said(value: object) -> str:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(map(plain, value))
    return plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _label(words: Words, names: Mapping[str, str], code: str) -> str:
    return words(names[code]) if code in names else plain(code)


def _value(words: Words, value: str | None) -> str:
    return words("(erased)") if value is None else plain(value)
