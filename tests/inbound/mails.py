"""Mails as they come back: reports and unsubscriptions, written as mail servers and readers write them."""

import base64
import secrets
from email.message import EmailMessage

from consent_ledger.domain.inbound import Known
from consent_ledger.domain.unsubscribe import KEY_BYTES, TokenKey, headers, seal

KEY = TokenKey(controller="shop-be", kid="00112233aabbccdd", key=secrets.token_bytes(KEY_BYTES))
KNOWN = Known(
    keys={KEY.kid: KEY},
    bases={("shop-be", "newsletter"): "consent", ("shop-be", "offers"): "legitimate-interest"},
    mailboxes={"bounce@lists.example": ["garage-be"]},
)
URL = "https://consent.example"


def token(address: str = "an@example.be", purpose: str = "newsletter", key: TokenKey = KEY) -> str:
    return seal(key, purpose=purpose, channel="email", address=address)


def original(address: str = "an@example.be", *, sealed: str | None = None) -> str:
    """The headers of the newsletter that a report is about; with a token, as a tool of ours sends it."""
    way = "".join(f"{name}: {text}\r\n" for name, text in headers(URL, sealed).items()) if sealed else ""
    return f"From: news@lists.example\r\nTo: {address}\r\nSubject: News\r\nMessage-ID: <n1@lists.example>\r\n{way}"


def report(kind: str, machine: str, about: str = "", *, to: str = "other@lists.example", about_type: str = "") -> bytes:
    """A multipart/report (RFC 6522): a text for people, the part for machines, and what it is about."""
    about_type = about_type or "text/rfc822-headers"
    second = f"--=b\r\nContent-Type: {about_type}\r\n\r\n{about}\r\n" if about else ""
    machine_type = {"delivery-status": "message/delivery-status", "feedback-report": "message/feedback-report"}[kind]
    return (
        f"Received: from mx.example by lists.example; Mon, 2 Mar 2026 10:00:00 +0100\r\n"
        f"From: MAILER-DAEMON@mx.example\r\nTo: {to}\r\nSubject: Report\r\nMessage-ID: <r1@mx.example>\r\n"
        f"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type={kind}; boundary="=b"\r\n\r\n'
        f"--=b\r\nContent-Type: text/plain\r\n\r\nSomething happened to your mail.\r\n"
        f"--=b\r\nContent-Type: {machine_type}\r\n\r\n{machine}\r\n{second}--=b--\r\n"
    ).encode()


def block(address: str = "an@example.be", status: str = "5.1.1", action: str = "failed", more: str = "") -> str:
    return (
        f"Final-Recipient: rfc822; {address}\r\nAction: {action}\r\nStatus: {status}\r\n{more}"
        f"Remote-MTA: dns; mx.example\r\n"
    )


def dsn(*blocks: str, about: str = "", to: str = "bounce@lists.example", about_type: str = "") -> bytes:
    """A delivery report (RFC 3464)."""
    every = "\r\n".join(["Reporting-MTA: dns; mx.example\r\n", *blocks])
    return report("delivery-status", every, about, to=to, about_type=about_type)


def arf(fields: str = "", about: str = "", *, kind: str = "abuse", about_type: str = "") -> bytes:
    """A complaint (RFC 5965)."""
    machine = f"Feedback-Type: {kind}\r\nUser-Agent: Provider/1\r\nVersion: 1\r\n{fields}"
    return report("feedback-report", machine, about, about_type=about_type)


def mail(*, to: str, subject: str = "", sender: str = "An <an@example.be>", text: str = "", **more: str) -> bytes:
    """A plain mail that a reader's program sends."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Message-ID"] = "<m1@example.be>"
    for name, value in more.items():
        message[name.replace("_", "-")] = value
    message.set_content(text or "stop")
    return message.as_bytes()


def encoded(raw: bytes) -> bytes:
    """The same report with its machine part in base64, which some servers do."""
    head, machine, tail = _cut(raw)
    return head.replace(
        b"/delivery-status\r\n\r\n", b"/delivery-status\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    ) + (base64.encodebytes(machine) + b"\r\n" + tail)


def _cut(raw: bytes) -> tuple[bytes, bytes, bytes]:
    start = raw.index(b"message/delivery-status\r\n\r\n") + len(b"message/delivery-status\r\n\r\n")
    end = raw.index(b"--=b", start)
    return raw[:start], raw[start:end], raw[end:]
