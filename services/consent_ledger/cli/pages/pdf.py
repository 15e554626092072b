"""Writes a page as PDF: rows as blocks, so that no text is too long for a cell, and the same bytes every time."""

import unicodedata
from datetime import datetime
from typing import Any, Final

import fontpkg_noto_sans
import fontpkg_noto_sans_arabic
from fpdf import FPDF
from fpdf.enums import XPos, YPos

from consent_ledger.cli.pages.page import Page, Section

# Latin, Greek, Cyrillic and their like; then Arabic.
_FONTS: Final = (
    ("text", fontpkg_noto_sans.ROOT / "files" / "NotoSans[wdth,wght].ttf"),
    ("arabic", fontpkg_noto_sans_arabic.ROOT / "files" / "NotoSansArabic[wdth,wght].ttf"),
)
_MARGIN: Final = 18.0
_LINE: Final = 1.4
_MM_PER_POINT: Final = 25.4 / 72
_TITLE, _HEADING, _TEXT = 18, 13, 10
_TURNED: Final = frozenset({"R", "AL"})
_GREY: Final = (90, 90, 90)
_BLACK: Final = (0, 0, 0)


def pdf(page: Page, made_at: datetime) -> bytes:
    """Write a page. A character that none of the fonts has stands as its code point, such as [U+5C71]."""
    writer = _Writer(page, made_at)
    for line in page.lead:
        writer.say(line)
    for section in page.sections:
        writer.add(section)
    return bytes(writer.document.output())


class _Writer:
    def __init__(self, page: Page, made_at: datetime) -> None:
        self.document = document = FPDF(format="A4")
        document.set_creation_date(made_at)
        document.set_lang(page.language)
        document.set_title(page.title)
        document.set_margin(_MARGIN)
        for family, file in _FONTS:
            document.add_font(family, "", file)
        document.set_fallback_fonts([family for family, _ in _FONTS[1:]])
        fonts: Any = document.fonts
        self._known = frozenset().union(*(fonts[family].cmap for family, _ in _FONTS))
        document.add_page()
        self.say(page.title, _TITLE)

    def say(self, text: str, size: int = _TEXT, colour: tuple[int, int, int] = _BLACK) -> None:
        """Write a paragraph."""
        self.document.set_font(_FONTS[0][0], size=size)
        self.document.set_text_color(*colour)
        # Letters that join, or run from right to left; for all others it would only take longer.
        self.document.set_text_shaping(
            use_shaping_engine=any(unicodedata.bidirectional(one) in _TURNED for one in text)
        )
        height = size * _MM_PER_POINT * _LINE
        self.document.multi_cell(
            0, height, self._written(text) or " ", align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT
        )  # fmt: skip

    def add(self, section: Section) -> None:
        """Write a section."""
        self.document.ln(_TEXT * _MM_PER_POINT)
        self.say(section.title, _HEADING)
        for line in section.lines:
            self.say(line)
        for fact in section.facts:
            self._fact(*fact)
        for row in section.rows:
            self.document.ln(1)
            for fact in zip(section.columns, row, strict=True):
                self._fact(*fact)

    def _fact(self, name: str, value: str) -> None:
        if value:
            self.say(name, _TEXT - 2, _GREY)
            self.say(value)

    def _written(self, text: str) -> str:
        return "".join(
            one if ord(one) in self._known else f"[U+{ord(one):04X}]" for one in text
        )  # fmt: skip
