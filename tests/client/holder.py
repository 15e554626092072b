"""A worker that follows a topic into a copy, says when it is ready, and waits to be killed."""

import signal
import sys

from client.topic import KEY, Clock
from consent_ledger.client import SuppressionView

if __name__ == "__main__":
    path, bootstrap, topic = sys.argv[1:]
    with SuppressionView(path, [KEY], {"bootstrap_servers": bootstrap}, topic=topic, clock=Clock()) as view:
        view.wait_ready(30)
        print("ready", flush=True)  # noqa: T201 - the test waits for it
        signal.pause()
