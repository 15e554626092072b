"""Where files are handed to others: a folder, or a bucket of S3-compatible storage.

A place is named by a URL: a plain path or `file:///…`, or `s3://bucket/path?endpoint_override=https://…`. What opens a
bucket (access key, secret, region) is read from where every tool reads it: the variables and files of the AWS tools.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import IO, Final

from pyarrow import fs

_PART: Final = ".part"


class ObjectsError(Exception):
    """A place cannot be reached, or refuses what is asked of it; nothing of a file is there that was not whole."""


class Objects:
    """Files under one place, each of them there whole or not at all. Blocks: call it from a thread.

    Names are relative, with `/` between folders. Raises `ObjectsError` from every method.
    """

    def __init__(self, place: str) -> None:
        try:
            if "://" in place:
                self._files, self._root = fs.FileSystem.from_uri(place)
            else:
                self._files, self._root = fs.LocalFileSystem(), os.path.abspath(place)  # noqa: PTH100 - may not exist.
        except (OSError, ValueError) as error:
            raise ObjectsError(f"no place of that name: {_plain(place)}") from error
        self._local = isinstance(self._files, fs.LocalFileSystem)

    def put(self, name: str, content: bytes) -> None:
        """Write a whole file, over the one that had its name."""
        with self.writing(name) as file:
            file.write(content)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Write a file piece by piece; it appears with the end of the block, and not at all if the block raises."""
        path = self._path(name)
        part = f"{path}.{secrets.token_hex(4)}{_PART}"
        with _told(name):
            if self._local:
                self._files.create_dir(str(PurePosixPath(path).parent), recursive=True)
            file = self._files.open_output_stream(part)
        try:
            yield file
        except BaseException:
            # A stream to a bucket cannot be given up, only closed: hence a name of its own for it there too.
            with suppress(OSError):
                file.close()
                self._files.delete_file(part)
            raise
        with _told(name):
            file.close()
            if self._local:
                _kept(part)
            self._files.move(part, path)
            if self._local:
                # Until then the new name may be lost.
                _kept(str(PurePosixPath(path).parent))

    def get(self, name: str) -> bytes | None:
        """Return a whole file, or None if there is none of that name."""
        with _told(name):
            try:
                with self._files.open_input_stream(self._path(name)) as file:
                    content: bytes = file.read()
            except FileNotFoundError:
                return None
            return content

    def names(self, folder: str = "") -> list[str]:
        """Return the names of all files in a folder and below, sorted."""
        selector = fs.FileSelector(self._path(folder), allow_not_found=True, recursive=True)
        with _told(folder):
            found = self._files.get_file_info(selector)
        paths = (file.path for file in found if file.type == fs.FileType.File and not file.path.endswith(_PART))
        return sorted(str(PurePosixPath(path).relative_to(self._root)) for path in paths)

    def delete(self, name: str) -> None:
        """Take a file away, if it is there."""
        with _told(name), suppress(FileNotFoundError):
            self._files.delete_file(self._path(name))

    def digest(self, name: str) -> str | None:
        """Return the SHA-256 of a file in hexadecimal, read piece by piece, or None if there is none of that name."""
        digest = hashlib.sha256()
        with _told(name):
            try:
                with self._files.open_input_stream(self._path(name)) as file:
                    while piece := file.read(1 << 20):
                        digest.update(piece)
            except FileNotFoundError:
                return None
        return digest.hexdigest()

    def _path(self, name: str) -> str:
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts:
            raise ObjectsError("a name leads out of its place")
        return str(PurePosixPath(self._root) / parts)


def _kept(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ObjectsError(f"{name or 'the place'} cannot be read or written: {type(error).__name__}") from error


def _plain(place: str) -> str:
    """Leave out what stands in a URL before its host, which may be a secret."""
    scheme, _, rest = place.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}" if rest else place
