"""A real IMAP server (Dovecot) with a configuration, mailboxes and a port of its own, for as long as a test runs."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imapclient import IMAPClient

from consent_ledger.runtime.local.ports import free_port

PASSWORD = "secret"
PROGRAM = shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin:/usr/local/sbin")
_START_SECONDS = 20
_CONFIGURATION = """
protocols = imap
listen = 127.0.0.1
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
default_internal_user = {internal}
default_login_user = {login}
default_internal_group = {group}
mail_location = maildir:{home}/mail/%u
mail_home = {home}/mail/%u
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
"""


class Dovecot:
    """The server, and a client for each of its users; every user that logs in has a mailbox."""

    def __init__(self, port: int) -> None:
        self.port = port

    @contextmanager
    def client(self, user: str) -> Iterator[Any]:
        with IMAPClient("127.0.0.1", self.port, ssl=False) as client:
            client.login(user, PASSWORD)
            client.select_folder("INBOX")
            yield client

    def deliver(self, user: str, *mails: bytes) -> None:
        with self.client(user) as client:
            for mail in mails:
                client.append("INBOX", mail)

    def count(self, user: str, folder: str = "INBOX") -> int:
        with self.client(user) as client:
            return int(client.folder_status(folder, ["MESSAGES"])[b"MESSAGES"]) if client.folder_exists(folder) else 0


@contextmanager
def running() -> Iterator[Dovecot]:
    """Run the server in the foreground, in a directory that its users may enter."""
    assert PROGRAM is not None
    home = Path(tempfile.mkdtemp(prefix="consent-dovecot-"))
    process = None
    try:
        port = free_port()
        configuration = _configure(home, port)
        process = subprocess.Popen([PROGRAM, "-F", "-c", str(configuration)], stdout=subprocess.DEVNULL)
        _await(port, process, home / "log")
        yield Dovecot(port)
    finally:
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(home, ignore_errors=True)


def _configure(home: Path, port: int) -> Path:
    home.chmod(0o755)
    mail = home / "mail"
    mail.mkdir()
    me = pwd.getpwuid(os.getuid())
    # Mail is never kept by root; without root, everything is one's own.
    owner = pwd.getpwnam("nobody") if me.pw_uid == 0 else me
    os.chown(mail, owner.pw_uid, owner.pw_gid)
    internal, login, group = ("dovecot", "dovenull", "dovecot") if me.pw_uid == 0 else (me.pw_name,) * 3
    path = home / "dovecot.conf"
    path.write_text(
        _CONFIGURATION.format(
            home=home, port=port, internal=internal, login=login, group=group, password=PASSWORD,
            uid=owner.pw_uid, gid=owner.pw_gid,
        )
    )  # fmt: skip
    return path


def _await(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as opened:
                if opened.recv(4) == b"* OK":
                    return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"Dovecot does not start: {log.read_text() if log.exists() else ''}")
