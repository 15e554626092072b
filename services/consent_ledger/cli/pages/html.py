"""Writes a page as HTML that is complete in itself and runs nothing."""

import base64
import hashlib
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from consent_ledger.cli.pages.page import Page

_STYLE: Final = (
    "body{font:1rem/1.5 sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;"
    "border-bottom:1px solid #bbb;overflow-wrap:anywhere}dt{font-weight:bold}dd{overflow-wrap:anywhere}"
)
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("consent_ledger.cli.pages", ""), autoescape=True, undefined=StrictUndefined,
    keep_trailing_newline=True,
)  # fmt: skip


def html(page: Page) -> bytes:
    """Write a page."""
    return _ENVIRONMENT.get_template("page.html").render(page=page, style=_STYLE, style_hash=_HASH).encode()
