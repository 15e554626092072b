"""A mailbox is read over TLS only, from the server that the certificate authority vouches for (RFC 8314).

Seen to fail: any certificate accepted; one of another name accepted; STARTTLS left out; a password sent to a server
that does not offer STARTTLS; an authority that is not asked; what failed hidden by the end
of a broken connection.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from imapclient.exceptions import IMAPClientError
from pydantic import SecretStr

from cli.installed import consent
from consent_ledger.inbound.mailbox import Folders, Mailbox
from consent_ledger.runtime.settings import Settings
from inbound import dovecot
from inbound.dovecot import PASSWORD, Dovecot
from inbound.mails import mail
from through.secured import write_certificates

MARK = "a word of the mail itself"
BOTH = pytest.mark.parametrize("security", ["ssl", "starttls"])


class Wire:
    """Passes on what goes to a port and back, and keeps it as whoever listens on the way would have it."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.heard = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError), self._listener:
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._to)) as server:
            back = threading.Thread(target=self._pass, args=(server, client), daemon=True)
            back.start()
            self._pass(client, server)
            back.join()

    def _pass(self, come_from: socket.socket, go_to: socket.socket) -> None:
        with suppress(OSError):
            while said := come_from.recv(65536):
                self.heard += said
                go_to.sendall(said)
            go_to.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority of the server's certificate, which lies beside it."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    write_certificates(path, path.with_name("server.pem"))
    return path


@pytest.fixture(scope="module")
def encrypted(authority: Path) -> Iterator[Dovecot]:
    """A server that lets nobody in without TLS."""
    if dovecot.PROGRAM is None:
        pytest.skip("no dovecot on this machine: install deploy/test-packages.txt")
    with dovecot.running(authority.with_name("server.pem")) as server:
        yield server


def wire(server: Dovecot, security: str) -> closing[Wire]:
    return closing(Wire(server.tls_port if security == "ssl" else server.port))


@pytest.fixture
def box(user: str, authority: Path) -> Callable[..., Mailbox]:
    """The mailbox of this test's user; further arguments are settings."""

    def made(**said: Any) -> Mailbox:
        there = {"imap_host": "127.0.0.1", "imap_user": user, "imap_password": SecretStr(PASSWORD),
                 "imap_ca_file": authority, **said}  # fmt: skip
        return Mailbox(Settings(_env_file=None).model_copy(update=there), Folders())

    return made


@BOTH
def test_mails_are_read_and_nothing_of_them_in_clear(
    encrypted: Dovecot, user: str, box: Callable[..., Mailbox], security: str
) -> None:
    encrypted.deliver(user, mail(to="info@lists.example", text=MARK))

    with wire(encrypted, security) as heard, box(imap_port=heard.port, imap_security=security) as opened:
        (found,) = opened.mails()
        opened.put(found, aside=True)

    assert MARK.encode() in found.raw
    assert encrypted.count(user, Folders().aside) == 1
    assert len(heard.heard) > len(found.raw)
    assert not [word for word in (MARK, PASSWORD, user, "LOGIN ", "FETCH") if word.encode() in heard.heard]


@BOTH
@pytest.mark.parametrize("wrong", ["authority", "name", "no authority"])
def test_a_server_that_nobody_vouches_for_is_told_nothing(
    encrypted: Dovecot, user: str, box: Callable[..., Mailbox], security: str, wrong: str, tmp_path: Path
) -> None:
    write_certificates(tmp_path / "ca.pem", tmp_path / "server.pem")
    ways: dict[str, dict[str, Any]] = {
        "authority": {"imap_ca_file": tmp_path / "ca.pem"},
        "name": {"imap_host": "localhost"},
        "no authority": {"imap_ca_file": None},
    }

    with (
        wire(encrypted, security) as heard,
        pytest.raises(OSError, match="certificate verify failed"),
        box(imap_port=heard.port, imap_security=security, **ways[wrong]),
    ):
        pass

    assert user.encode() not in heard.heard
    assert PASSWORD.encode() not in heard.heard


@BOTH
def test_a_server_without_tls_is_told_nothing(
    imap: Dovecot, user: str, box: Callable[..., Mailbox], security: str
) -> None:
    with (
        closing(Wire(imap.port)) as heard,
        pytest.raises((IMAPClientError, OSError)),
        box(imap_port=heard.port, imap_security=security),
    ):
        pass

    assert user.encode() not in heard.heard
    assert PASSWORD.encode() not in heard.heard


@BOTH
def test_the_command_says_which_setting_names_the_authority(
    encrypted: Dovecot, user: str, security: str, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_certificates(tmp_path / "ca.pem", tmp_path / "server.pem")
    said = {
        "DATABASE_URL": settings.dsn, "KAFKA_BOOTSTRAP_SERVERS": str(settings.kafka_bootstrap_servers),
        "KEY_FILE": str(settings.key_file), "IMAP_HOST": "127.0.0.1", "IMAP_SECURITY": security, "IMAP_USER": user,
        "IMAP_PORT": str(encrypted.tls_port if security == "ssl" else encrypted.port),
        "IMAP_PASSWORD": PASSWORD, "IMAP_CA_FILE": str(tmp_path / "ca.pem"),
    }  # fmt: skip
    for name, value in said.items():
        monkeypatch.setenv(f"CONSENT_{name}", value)

    answer = consent("inbound", "mailbox", "--once")

    assert answer.status == 3
    assert "certificate" in answer.err
    assert "CONSENT_IMAP_CA_FILE" in answer.err
