"""S3-compatible storage of this run: moto's server, a process of its own that ends with its parent."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from consent_ledger.runtime.local.ports import free_port

_ACCESS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
_SERVE = """
import os, signal, sys, threading
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", int(sys.argv[1]), verbose=False)
server.start()
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""


@contextmanager
def bucket(name: str) -> Iterator[str]:
    """Start the storage with one empty bucket; yields the URL of a place in it, and sets what opens it."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path("/")
    ) as server:
        before = {variable: os.environ.get(variable) for variable in _ACCESS}
        os.environ.update(_ACCESS)
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            endpoint = f"http://127.0.0.1:{port}"
            boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=name)
            yield f"s3://{name}/ledger?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        finally:
            assert server.stdin is not None
            server.stdin.close()
            for variable, value in before.items():
                if value is None:
                    del os.environ[variable]
                else:
                    os.environ[variable] = value
