"""Ports for servers on this machine."""

import random
import socket

from consent_ledger.runtime.local.errors import LocalServerError

LOOPBACK = "127.0.0.1"
# Below the range from which systems take the ports of outgoing connections: a client that tries a stopped server's
# port again and again would otherwise be given that very port in the end, and be connected to itself.
_FROM, _TO = 15_000, 30_000
_TRIES = 200


def is_free(port: int) -> bool:
    """Say whether a server could listen there now."""
    with socket.socket() as probe:
        # As servers do: connections of a predecessor that still fade away are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port that nothing listens on."""
    for _ in range(_TRIES):
        port = random.randrange(_FROM, _TO)  # noqa: S311 - nothing secret.
        if is_free(port):
            return port
    raise LocalServerError(f"No free port between {_FROM} and {_TO} on {LOOPBACK}: end what listens there.")
