"""Kafka's jars: downloaded once, and never run unless they are the ones this project was tested with."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import msgspec

from consent_ledger.runtime.local.errors import LocalServerError
from consent_ledger.runtime.local.homes import locked

KAFKA_VERSION = "4.1.1"
CHECKSUMS = Path(__file__).with_name(f"kafka-{KAFKA_VERSION}.sha256")
_DOWNLOADS_AT_ONCE = 8
_DOWNLOAD_SECONDS = 30
_MEGA = 1_000_000


class Jar(msgspec.Struct, frozen=True, kw_only=True):
    """One artifact by its coordinates, and the SHA-256 it must have."""

    group: str
    name: str
    version: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where it lies within a repository."""
        return Path(*self.group.split("."), self.name, self.version, f"{self.name}-{self.version}.jar")


def listed(checksums: Path = CHECKSUMS) -> list[Jar]:
    """Return the jars that make up the server, in the order of the class path."""
    jars = []
    for line in checksums.read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            sha256, coordinates = line.split()
            group, name, version = coordinates.split(":")
            jars.append(Jar(group=group, name=name, version=version, sha256=sha256))
    return jars


def verified(cache: Path, report: Callable[[str], None], jars: Sequence[Jar]) -> list[Path]:
    """Return the path of every jar, each verified just now; only what is missing is downloaded.

    Raises LocalServerError for a jar that was changed, and when one cannot be had.
    """
    if _missing(cache, jars):
        with locked(cache):
            # Another process may have fetched them while this one waited.
            if missing := _missing(cache, jars):
                _fetch(missing, cache, report)
    for jar in jars:
        _verify(jar, cache / jar.path)
    return [cache / jar.path for jar in jars]


def _missing(cache: Path, jars: Sequence[Jar]) -> list[Jar]:
    return [jar for jar in jars if not (cache / jar.path).exists()]


def _verify(jar: Jar, path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != jar.sha256:
        raise LocalServerError(
            f"{path} is not the {jar.group}:{jar.name}:{jar.version} that is listed in {CHECKSUMS.name}: its SHA-256 "
            f"is {found}, not {jar.sha256}. It was changed or damaged: remove it, and the next start fetches it again."
        )


def _fetch(jars: Sequence[Jar], cache: Path, report: Callable[[str], None]) -> None:
    """Download to a directory beside the cache and move each jar in when verified, so no half file is ever there."""
    with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as staging:
        fetched = size = 0
        report(f"Kafka {KAFKA_VERSION}: fetching {len(jars)} jars, about 44 MB for all")
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE, thread_name_prefix="fetch") as pool:
            for done in as_completed([pool.submit(_download, jar, Path(staging)) for jar in jars]):
                if done.exception() is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                jar, path = done.result()
                _verify(jar, path)
                fetched, size = fetched + 1, size + path.stat().st_size
                (cache / jar.path).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, cache / jar.path)
                report(f"Kafka {KAFKA_VERSION}: {fetched} of {len(jars)} jars, {size / _MEGA:.1f} MB")


def _download(jar: Jar, staging: Path) -> tuple[Jar, Path]:
    try:
        # The download needs what the running server does not.
        from jgo.config import GlobalSettings  # noqa: PLC0415
        from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
        from jgo.maven import MavenContext  # noqa: PLC0415
    except ImportError as problem:
        raise LocalServerError("Kafka's jars are fetched by jgo: install consent-ledger[local].") from problem
    # Mirrors named in the user's jgo settings are asked as well; what they give is verified like anything else.
    sources = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    context = MavenContext(repo_cache=staging, remote_repos=sources, timeout=_DOWNLOAD_SECONDS)
    try:
        artifact = context.project(jar.group, jar.name).at_version(jar.version).artifact()
        return jar, Path(artifact.resolve())
    except (OSError, RuntimeError) as problem:
        raise LocalServerError(
            f"{jar.group}:{jar.name}:{jar.version} could not be fetched ({problem}): the first start needs the network "
            f"or a mirror in the settings of jgo; or set CONSENT_KAFKA_BOOTSTRAP_SERVERS to a Kafka of yours."
        ) from problem
