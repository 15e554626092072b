"""A real IMAP server (Dovecot) with a configuration, mailboxes and a port of its own, for as long as a test runs."""

import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imapclient import IMAPClient

from consent_ledger.runtime.local.ports import free_port
from mortal import mortal

PASSWORD = "secret"
PROGRAM = shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin:/usr/local/sbin")
_START_SECONDS = 20
_CONFIGURATION = """
protocols = imap
listen = 127.0.0.1
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
{security}
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
    address = 127.0.0.1
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
"""


_IN_CLEAR = """\
ssl = no
disable_plaintext_auth = no
"""
_ENCRYPTED = """\
ssl = required
ssl_cert = <{certificate}
ssl_key = <{certificate}
disable_plaintext_auth = yes
"""


class Dovecot:
    """The server, and a client for each of its users; every user that logs in has a mailbox.

    `tls_port`: where it encrypts from the first byte, if it has a certificate; then it lets nobody in otherwise.
    """

    def __init__(self, port: int, tls_port: int = 0) -> None:
        self.port = port
        self.tls_port = tls_port

    @contextmanager
    def client(self, user: str) -> Iterator[Any]:
        whoever = ssl.create_default_context()
        whoever.check_hostname, whoever.verify_mode = False, ssl.CERT_NONE
        with IMAPClient(
            "127.0.0.1", self.tls_port or self.port, ssl=bool(self.tls_port), ssl_context=whoever
        ) as client:
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
def running(certificate: Path | None = None) -> Iterator[Dovecot]:
    """Run the server in the foreground, in a directory that its users may enter. `certificate`: its PEM, key first."""
    assert PROGRAM is not None
    home = Path(tempfile.mkdtemp(prefix="consent-dovecot-"))
    process = None
    try:
        port, tls_port = free_port(), free_port() if certificate else 0
        configuration = _configure(home, port, tls_port, certificate)
        process = subprocess.Popen(mortal([PROGRAM, "-F", "-c", str(configuration)]), stdout=subprocess.DEVNULL)
        _await(port, process, home / "log")
        yield Dovecot(port, tls_port)
    finally:
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(home, ignore_errors=True)


def _configure(home: Path, port: int, tls_port: int, certificate: Path | None) -> Path:
    home.chmod(0o755)
    mail = home / "mail"
    mail.mkdir()
    me = pwd.getpwuid(os.getuid())
    # Mail is never kept by root; without root, everything is one's own.
    owner = pwd.getpwnam("nobody") if me.pw_uid == 0 else me
    os.chown(mail, owner.pw_uid, owner.pw_gid)
    internal, login, group = ("dovecot", "dovenull", "dovecot") if me.pw_uid == 0 else (me.pw_name,) * 3
    path = home / "dovecot.conf"
    security = _ENCRYPTED.format(certificate=certificate) if certificate else _IN_CLEAR
    path.write_text(
        _CONFIGURATION.format(
            security=security,
            home=home, port=port, tls_port=tls_port, internal=internal, login=login, group=group, password=PASSWORD,
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
