"""Words in the language of the reader: catalogues of gettext, and dates as they are written there."""

from datetime import datetime
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from babel.dates import format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations

LANGUAGES: Final = ("en", "nl", "fr", "de")
"""Languages that pages are written in; English stands in the code."""
LOCALE: Final = Path(__file__).parent / "locale"


class Words:
    """Translates into one language, and writes instants as in one zone."""

    def __init__(self, language: str, zone: str = "UTC") -> None:
        self.language = language
        self._catalogue = _catalogue(language)
        self._zone = ZoneInfo(zone)

    def __call__(self, text: str, **values: str) -> str:
        """Translate a text and put values in; one that the catalogue lacks stays English."""
        translated: str = self._catalogue.gettext(text) if text else ""
        return translated.format(**values) if values else translated

    def instant(self, instant: str | datetime) -> str:
        """Write an instant with its zone."""
        moment = instant if isinstance(instant, datetime) else datetime.fromisoformat(instant)
        try:
            return format_datetime(moment, "long", tzinfo=self._zone, locale=self.language)
        except OverflowError:
            # The first and the last day of the calendar have no local time everywhere.
            return moment.isoformat()


@cache
def _catalogue(language: str) -> Translations:
    if language == LANGUAGES[0]:
        return Translations()
    compiled = BytesIO()
    with (LOCALE / f"{language}.po").open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return Translations(compiled)
