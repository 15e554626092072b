"""A mail tool that cannot mail somebody who said no: it follows, filters, asks before each mail, and reports bounces.

    uv run consent consumers add newsletter-tool --controller dekra-be --purpose newsletter-email --channel email
    uv run consent keys export --consumer newsletter-tool --json > keys.json
    uv run python deploy/examples/mail_tool.py --kafka 127.0.0.1:9092 --keys keys.json addresses.txt

`consent up --demo-registers` prints where its Kafka is. Only the light package is needed: `pip install consent-ledger`.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Iterable
from pathlib import Path

from consent_ledger.client import Allowed, Gate, KafkaTransport, Publisher, SuppressionView, load_keys

CONTROLLER = "dekra-be"
PURPOSE = "newsletter-email"
CHANNEL = "email"
CONSUMER = "newsletter-tool"
RECHECK_SECONDS = 300.0


class BouncedError(Exception):
    """The receiving server says that there is no such mailbox."""


def deliver(address: str) -> None:
    """Hand a mail over; a real tool speaks SMTP here. Addresses that begin with `bounce` do not exist."""
    if address.startswith("bounce"):
        raise BouncedError("550 5.1.1 user unknown")
    print(f"sent      {address}")


def send_all(gate: Gate, allowed: Allowed, publisher: Publisher) -> None:
    """Send to all who may be mailed, each asked about at the moment of sending."""
    recheck_at = time.monotonic() + RECHECK_SECONDS
    waiting = allowed.addresses
    while waiting:
        address = waiting.pop()
        decision = gate.check(address)
        if not decision:
            print(f"not sent  {address}  {decision.reason}")
            continue
        try:
            deliver(address)
        except BouncedError as error:
            report_bounce(publisher, address, str(error))
        if time.monotonic() >= recheck_at:
            # Whoever has refused since is not even in the queue any more.
            allowed = gate.recheck(allowed)
            still = set(allowed.addresses)
            waiting = [one for one in waiting if one in still]
            recheck_at = time.monotonic() + RECHECK_SECONDS


def report_bounce(publisher: Publisher, address: str, reason: str) -> None:
    """Tell the ledger, so that no tool of this controller mails the address again."""
    print(f"bounced   {address}")
    said = {"controllers": [CONTROLLER], "subject": [{"type": "email", "value": address}], "channels": [CHANNEL]}
    publisher.publish("delivery-failed", {**said, "bounce": "hard", "reason": reason})


async def run(kafka: dict[str, str], keys: Path, state: Path, addresses: Iterable[str]) -> None:
    """Run one campaign."""
    view = SuppressionView(state / "suppressions", load_keys(keys), kafka, consumer=CONSUMER)
    publisher = Publisher(state / "outbox.db", lambda: KafkaTransport(kafka), source="esp:dekra-be")
    async with view, publisher:
        await view.ready(120)
        gate = Gate(view, CONTROLLER, PURPOSE, CHANNEL)
        allowed = gate.filter(addresses)
        for address, decision in allowed.refused.items():
            print(f"refused   {address}  {decision.reason}")
        await asyncio.to_thread(send_all, gate, allowed, publisher)
        await asyncio.to_thread(publisher.flush, 60)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("addresses", type=Path, help="one address per line")
    parser.add_argument("--kafka", default=os.environ.get("CONSENT_KAFKA_BOOTSTRAP_SERVERS"), help="host:port")
    parser.add_argument("--keys", type=Path, default=Path("keys.json"), help="as `consent keys export` gives them")
    parser.add_argument("--state", type=Path, default=Path("mail-tool"), help="where the copy and the outbox are kept")
    said = parser.parse_args()
    addresses = said.addresses.read_text(encoding="utf-8").split()
    said.state.mkdir(parents=True, exist_ok=True)
    asyncio.run(run({"bootstrap_servers": said.kafka}, said.keys, said.state, addresses))


if __name__ == "__main__":
    main()
