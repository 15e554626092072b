"""The one form of an e-mail address and a phone number (specification 5), as far as the random histories write them.

Other types stand as given; what a real address or number may be is not the oracle's to know.
"""

import re
import unicodedata

MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
CALL = re.compile(r"\+\d{8,15}", re.ASCII)


def normal(kind: str, value: str) -> tuple[str, bool]:
    """Return the value in its one form, and whether it has none and stays raw."""
    text = unicodedata.normalize("NFC", value.strip())
    if kind == "email" and MAIL.fullmatch(text):
        local, _, domain = text.lower().rpartition("@")
        return f"{local}@{domain.encode('idna').decode()}", False
    if kind == "phone":
        digits = re.sub(r"[ ./()-]", "", text)
        digits = re.sub(r"^00", "+", digits)
        return (digits, False) if CALL.fullmatch(digits) else (value, True)
    return (value, True) if kind == "email" else (value, False)
