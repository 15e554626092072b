"""From which age a child may consent to an online service (Art. 8(1) and the laws of the member states)."""

from datetime import date
from typing import Final

_UNKNOWN: Final = 16
_AGES: Final = {
    "AT": 14, "BE": 13, "BG": 14, "CY": 14, "CZ": 15, "DE": 16, "DK": 15, "EE": 13, "ES": 14, "FI": 13,
    "FR": 15, "GR": 15, "HR": 16, "HU": 16, "IE": 16, "IT": 14, "LT": 14, "LU": 16, "LV": 13, "MT": 13,
    "NL": 16, "PL": 16, "PT": 13, "RO": 16, "SE": 13, "SI": 15, "SK": 16,
}  # fmt: skip
_CHANGED: Final = frozenset({"DK"})
_DANISH_CHANGE: Final = date(2024, 1, 1)


def age_of_consent(country: str | None, day: date) -> int:
    """Give the age in full years for a country (ISO 3166) on a day; the highest there is for an unknown one."""
    code = _code(country)
    if code in _CHANGED and day < _DANISH_CHANGE:
        return 13
    return _AGES.get(code, _UNKNOWN)


def has_changed(country: str | None) -> bool:
    """Tell whether the age of a country has not always been the same."""
    return _code(country) in _CHANGED


def _code(country: str | None) -> str:
    return (country or "").strip().upper()
