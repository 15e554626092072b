"""A real Postfix for the tests of its gate, and a copy of the suppressions topic to judge from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from client.conftest import topic
from client.topic import address, copied, no, yes
from connectors import mailserver
from connectors.mailserver import Postfix
from consent_ledger.client.copy import Copy
from consent_ledger.runtime.local.ports import LOOPBACK, free_port

__all__ = ["topic"]

YES = {"newsletter": {"email": yes()}}
NO = {"newsletter": {"email": no("OBJECTION_DM")}}
AN = "an@example.be"
BO = "bo@example.be"


class Gated:
    """A Postfix whose smtpds ask the gate in different ways; `gates` says where the gate must listen for each."""

    def __init__(self, postfix: Postfix, gates: dict[str, str]) -> None:
        self.postfix = postfix
        self.gates = gates

    def port(self, name: str) -> int:
        return self.postfix.ports[name]

    def has_delivered(self, recipient: str) -> bool:
        """Whether it was thrown away, which is what comes of mail that is let out here."""
        lines = self.postfix.log.read_text().splitlines()
        return any(f"to=<{recipient}>" in line and "status=sent" in line for line in lines)


@pytest.fixture(scope="package")
def gated() -> Iterator[Gated]:
    """Postfix with an smtpd for the policy server, one for the table, and one that asks where nobody is."""
    if (reason := mailserver.missing()) is not None:
        pytest.skip(reason)
    gates = {name: f"{LOOPBACK}:{free_port()}" for name in ("policy", "table", "process", "nobody")}
    asked = {
        "policy": f"check_policy_service inet:{gates['policy']}",
        "table": f"check_recipient_access tcp:{gates['table']}",
        "process": f"check_policy_service inet:{gates['process']}",
        "nobody": f"check_policy_service inet:{gates['nobody']}",
    }
    smtpd = {
        # The gate first: what a permit comes before is not asked about.
        name: {
            "smtpd_recipient_restrictions": f"{ask}, permit_mynetworks, reject",
            "smtpd_authorized_xclient_hosts": LOOPBACK,
        }
        for name, ask in asked.items()
    }
    with Postfix(smtpd) as postfix:
        yield Gated(postfix, gates)


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    """A complete and fresh copy in which An has consented, and Bo has objected."""
    made = copied(tmp_path / "copy", address(AN, YES), address(BO, NO))
    yield made
    made.close()
