"""A mailbox on an IMAP server (RFC 3501): what is in it, and where it goes once it was read."""

import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from imapclient import IMAPClient

from consent_ledger.runtime.settings import MissingSettingError, Settings

_TIMEOUT_SECONDS: Final = 30.0
_BODY: Final = b"BODY[]"
_RECEIVED: Final = b"INTERNALDATE"


class Folders(NamedTuple):
    """Where mails come in, where those go that were read, and those that somebody must look at."""

    inbox: str = "INBOX"
    done: str = "Consent-Done"
    aside: str = "Consent-Aside"


class Mail(NamedTuple):
    """A mail in the inbox."""

    uid: int
    raw: bytes
    received_at: datetime | None


class Mailbox:
    """An open mailbox. Its methods wait for the server, and raise `IMAPClientError` or OSError when it is lost."""

    def __init__(self, settings: Settings, folders: Folders) -> None:
        self._settings = settings
        self._folders = folders

    def __enter__(self) -> Self:
        said = self._settings
        if said.imap_host is None or said.imap_user is None or said.imap_password is None:
            raise MissingSettingError("CONSENT_IMAP_HOST, _USER or _PASSWORD")
        secure = ssl.create_default_context(cafile=str(said.imap_ca_file) if said.imap_ca_file else None)
        self._client: Any = IMAPClient(
            said.imap_host, said.imap_port, ssl=said.imap_security == "ssl",
            ssl_context=secure if said.imap_security == "ssl" else None, timeout=_TIMEOUT_SECONDS,
        )  # fmt: skip
        try:
            if said.imap_security == "starttls":
                self._client.starttls(secure)
            self._client.login(said.imap_user, said.imap_password.get_secret_value())
            self._client.normalise_times = False
            for folder in (self._folders.done, self._folders.aside):
                if not self._client.folder_exists(folder):
                    self._client.create_folder(folder)
            self._client.select_folder(self._folders.inbox)
        except BaseException:
            # A connection that failed on its way to TLS cannot be shut down in good order; what failed is to be known.
            with suppress(OSError):
                self._client.shutdown()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._client.logout()
        else:
            self._client.shutdown()

    def mails(self) -> Iterator[Mail]:
        """Read the mails of the inbox one by one, the oldest first. None is marked as seen."""
        for uid in sorted(self._client.search(["NOT", "DELETED"])):
            found = self._client.fetch([uid], ["BODY.PEEK[]", _RECEIVED]).get(uid, {})
            # Somebody else may have taken it meanwhile.
            if found.get(_BODY) is not None:
                yield Mail(uid, found[_BODY], found.get(_RECEIVED))

    def put(self, mail: Mail, *, aside: bool) -> None:
        """Move a mail out of the inbox."""
        folder = self._folders.aside if aside else self._folders.done
        if self._client.has_capability("MOVE"):
            self._client.move([mail.uid], folder)
            return
        self._client.copy([mail.uid], folder)
        self._client.add_flags([mail.uid], [rb"\Deleted"])
        if self._client.has_capability("UIDPLUS"):
            self._client.uid_expunge([mail.uid])

    def wait(self, seconds: float) -> bool:
        """Return True as soon as something changes in the inbox, False when nothing did in so many seconds."""
        if not self._client.has_capability("IDLE"):
            time.sleep(seconds)
            return False
        self._client.idle()
        try:
            return bool(self._client.idle_check(timeout=seconds))
        finally:
            self._client.idle_done()
