"""Which day it is where a controller sits, and which days nobody works there."""

from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import holidays

from consent_ledger.domain import durations
from consent_ledger.domain.register import Register
from consent_ledger.domain.requests import Calendar

# Where most people of a country live, for those that have several.
_ZONES: Final = {
    "AT": "Europe/Vienna", "BE": "Europe/Brussels", "BG": "Europe/Sofia", "CH": "Europe/Zurich", "CY": "Asia/Nicosia",
    "CZ": "Europe/Prague", "DE": "Europe/Berlin", "DK": "Europe/Copenhagen", "EE": "Europe/Tallinn",
    "ES": "Europe/Madrid", "FI": "Europe/Helsinki", "FR": "Europe/Paris", "GB": "Europe/London", "GR": "Europe/Athens",
    "HR": "Europe/Zagreb", "HU": "Europe/Budapest", "IE": "Europe/Dublin", "IS": "Atlantic/Reykjavik",
    "IT": "Europe/Rome", "LI": "Europe/Vaduz", "LT": "Europe/Vilnius", "LU": "Europe/Luxembourg", "LV": "Europe/Riga",
    "MT": "Europe/Malta", "NL": "Europe/Amsterdam", "NO": "Europe/Oslo", "PL": "Europe/Warsaw", "PT": "Europe/Lisbon",
    "RO": "Europe/Bucharest", "SE": "Europe/Stockholm", "SI": "Europe/Ljubljana", "SK": "Europe/Bratislava",
}  # fmt: skip
# Nothing was received before, and the rules of movable feasts go back no further everywhere.
_FIRST_YEAR: Final = 1950


def zone(country: str | None) -> str:
    """Name the time zone of a country (ISO 3166), where most of its people live; of one that nobody knows, UTC."""
    return _ZONES.get((country or "").strip().upper(), "UTC")


class _Country(Calendar):
    """A country's zone and public holidays; of one that nobody knows, UTC and none."""

    def __init__(self, country: str, subdivision: str | None) -> None:
        self._zone = ZoneInfo(zone(country))
        self._holidays = _public_holidays(country, subdivision)

    def day(self, instant: int) -> date:
        """Give the date on the wall there."""
        moment = durations.moment(instant)
        try:
            return moment.astimezone(self._zone).date()
        except OverflowError:
            return moment.date()

    def is_holiday(self, day: date) -> bool:
        """Tell whether the day is a public holiday there."""
        return day.year >= _FIRST_YEAR and day in self._holidays


@lru_cache(maxsize=1024)
def calendar(country: str | None, subdivision: str | None = None) -> Calendar:
    """Give the calendar of a country (ISO 3166) or of a part of it (what follows the hyphen in ISO 3166-2)."""
    return _Country((country or "").strip().upper(), subdivision)


def of_controllers(register: Register) -> Callable[[str], Calendar]:
    """Give the calendars of the controllers of a register; its field `subdivision` beside `country` is optional."""
    controllers: Mapping[str, Mapping[str, Any]] = register.document.get("controllers", {})

    def of(controller: str) -> Calendar:
        said = controllers.get(controller, {})
        country, subdivision = said.get("country"), said.get("subdivision")
        return calendar(
            country if isinstance(country, str) else None, subdivision if isinstance(subdivision, str) else None
        )

    return of


def _public_holidays(country: str, subdivision: str | None) -> Mapping[date, str]:
    try:
        return holidays.country_holidays(country, subdiv=subdivision)
    except NotImplementedError:
        # A subdivision that the country does not have leaves the country's own days.
        return _public_holidays(country, None) if subdivision else {}
