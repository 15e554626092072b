"""Configurations of the gate for tests, and what a real Postfix says to each recipient of a mail."""

import asyncio
import smtplib
from typing import Any, NamedTuple

import msgspec

from client.topic import SHOP
from consent_ledger.connectors.postfix.settings import Configuration
from consent_ledger.runtime.local.ports import LOOPBACK

NEWS = "news@shop.example"
STREAM = {"controller": SHOP, "purpose": "newsletter", "sender": [NEWS]}
_SECONDS = 30


class Said(NamedTuple):
    """Code and text of a reply."""

    code: int
    text: str


def configured(**parts: Any) -> Configuration:
    """A configuration whose view is never opened."""
    view = {"path": "unused", "keys": "unused", "kafka": {}}
    return msgspec.convert({"view": view, **parts}, Configuration)


async def mail(port: int, sender: str, *recipients: str, login: str | None = None) -> list[Said]:
    """Send one mail over SMTP, and say what was replied to each recipient."""
    return await asyncio.to_thread(_mail, port, sender, recipients, login)


def _mail(port: int, sender: str, recipients: tuple[str, ...], login: str | None) -> list[Said]:
    with smtplib.SMTP(LOOPBACK, port, local_hostname="tool.shop.example", timeout=_SECONDS) as smtp:
        smtp.command_encoding = "utf-8"
        smtp.ehlo()
        if login is not None:
            smtp.docmd("XCLIENT", f"LOGIN={login}")
            smtp.ehlo()
        assert smtp.mail(sender, ["SMTPUTF8"])[0] == 250
        said = [_said(smtp.docmd("RCPT", f"TO:<{recipient}>")) for recipient in recipients]
        if any(reply.code == 250 for reply in said):
            assert smtp.data(b"Subject: news\r\n\r\nNews.\r\n")[0] == 250
        return said


def _said(reply: tuple[int, bytes]) -> Said:
    code, text = reply
    return Said(code, text.decode())
