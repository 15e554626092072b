"""Programs by others that check a log: Tessera's `fsck`, and one that uses only Go's `sumdb/tlog` and `sumdb/note`.

They are built when `go` is there.
"""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

FOREIGN = Path(__file__).parents[1] / "foreign"
_PACKAGES = {"fsck": "github.com/transparency-dev/tessera/cmd/fsck", "logcheck": "./logcheck"}


async def built(cache: Path, name: str) -> str:
    """Build a program, and return where it is."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed, by which programs of others are built")
    # The first time, everything that it rests on is compiled too.
    command = [go, "build", "-o", str(cache / name), _PACKAGES[name]]
    status, said = await program(*command, patience_seconds=240.0)
    assert status == 0, said
    return str(cache / name)


async def fsck(cache: Path, url: str, key: str, directory: Path) -> str:
    """Have Tessera check a log from end to end, and return what it says; its status is 0 whatever it finds."""
    trusted = directory / "log.pub"
    trusted.write_text(key)
    # With few workers, fsck waits for ever on those that have found something.
    asked = ["--storage_url", f"{url}/", "--public_key", str(trusted), "--ui=false", "--N=16"]
    _, said = await program(await built(cache, "fsck"), *asked)
    return said


async def program(*command: str, patience_seconds: float = 60.0) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=FOREIGN, env=os.environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(patience_seconds):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        said, _ = await process.communicate()
        raise AssertionError(said.decode()[-3000:]) from None
    return process.returncode or 0, said.decode()
