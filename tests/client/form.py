"""A form whose process dies right after it has taken withdrawals, with nothing in reach that could take them on."""

import os
import signal
import sys

from builders import SOURCE, withdrawn
from consent_ledger.client import KafkaTransport, Publisher
from consent_ledger.runtime.local.ports import free_port

if __name__ == "__main__":
    nowhere = {"bootstrap_servers": f"127.0.0.1:{free_port()}"}
    with Publisher(sys.argv[1], lambda: KafkaTransport(nowhere), source=SOURCE) as publisher:
        for _ in range(5):
            publisher.publish("consent-withdrawn", withdrawn()["data"])
        print("taken", flush=True)  # noqa: T201 - the test waits for it
        os.kill(os.getpid(), signal.SIGKILL)
