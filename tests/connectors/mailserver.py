"""A real Postfix of this test run's own: instance directories of its own, ports of its own, and nothing delivered.

It needs the program and root, which it leaves at once for most of what it does. It runs under a guard, so it ends with
the tests however these end; the system's own Postfix, if there is one, is not touched.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from consent_ledger.runtime.local.ports import LOOPBACK, free_port
from consent_ledger.runtime.local.server import LocalServer

# What an instance needs in master.cf; of the names, only the ports of smtpd are seen from outside.
_SERVICES = """\
rewrite unix - - n - - trivial-rewrite
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
anvil unix - - n - 1 anvil
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
showq unix n - n - - showq
postlog unix-dgram n - n - 1 postlogd
"""


def missing() -> str | None:
    """Why there can be no Postfix here; None if there can."""
    if shutil.which("postfix") is None:
        return "Postfix is not installed (deploy/test-packages.txt)"
    return None if os.geteuid() == 0 else "Postfix starts as root only"


class Postfix(LocalServer):
    """Takes mail on one port per smtpd, and throws away what it has taken.

    `smtpd`: what each is given besides, by name: settings of main.cf. `ports` says where they are. `settings`: further
    ones for all; `transports`: further lines of master.cf.
    """

    name: ClassVar[str] = "Postfix"
    stop_signal: ClassVar[int] = signal.SIGTERM
    fast_signal: ClassVar[int] = signal.SIGTERM

    def __init__(
        self, smtpd: Mapping[str, Mapping[str, str]], settings: Mapping[str, str] | None = None, transports: str = ""
    ) -> None:
        super().__init__()
        self._smtpd = smtpd
        self._more = settings or {}
        self._transports = transports
        self.ports: dict[str, int] = {}

    def queued(self) -> list[str]:
        """To whom there is mail that was not delivered yet."""
        command = ["postqueue", "-c", str(self.home / "etc"), "-j"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return sorted(one["address"] for line in said.splitlines() for one in json.loads(line)["recipients"])

    def _prepare(self) -> None:
        # Postfix's own user looks at its queue from here.
        self.home.chmod(0o755)
        etc = self.home / "etc"
        for directory in (etc, self.home / "queue"):
            directory.mkdir(exist_ok=True)
        shutil.chown(_made(self.home / "lib"), "postfix")
        self.ports = {name: free_port() for name in self._smtpd}
        self.ports[next(iter(self._smtpd))] = self.port
        (etc / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in self._settings().items()))
        (etc / "master.cf").write_text(
            _SERVICES + self._transports + "".join(self._smtpd_line(name) for name in self._smtpd)
        )
        subprocess.run(["postfix", "-c", etc, "check"], check=True, capture_output=True)

    def _settings(self) -> dict[str, str]:
        return {
            "compatibility_level": "3.6",
            "queue_directory": str(self.home / "queue"),
            "data_directory": str(self.home / "lib"),
            "maillog_file": "/dev/stdout",
            "myhostname": "mail.shop.example",
            "mydestination": "",
            "inet_interfaces": "loopback-only",
            "inet_protocols": "ipv4",
            "mynetworks": "127.0.0.0/8",
            "default_transport": "discard",
            "relay_transport": "discard",
            "alias_maps": "",
            "local_recipient_maps": "",
            "alias_database": "",
            "smtputf8_enable": "yes",
            "smtpd_peername_lookup": "no",
            "smtpd_client_connection_rate_limit": "0",
            **self._more,
        }

    def _smtpd_line(self, name: str) -> str:
        settings = "".join(f"  -o {{ {key} = {value} }}\n" for key, value in self._smtpd[name].items())
        return f"{LOOPBACK}:{self.ports[name]} inet n - n - - smtpd\n  -o syslog_name={name}\n{settings}"

    def _command(self) -> Sequence[str]:
        daemons = subprocess.run(["postconf", "-dh", "daemon_directory"], check=True, capture_output=True, text=True)
        return [f"{daemons.stdout.strip()}/master", "-c", str(self.home / "etc"), "-s"]

    def _is_ready(self, said: str) -> bool:
        if "daemon started" not in said:
            return False
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, self.port)) == 0

    def _throwaway_root(self) -> Path:
        # Postfix's own user comes here, which it may not under the home directory of root.
        root = Path(tempfile.gettempdir(), "consent-ledger-postfix")
        root.mkdir(mode=0o755, exist_ok=True)
        return root


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory
