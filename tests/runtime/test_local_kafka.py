"""A real Kafka starts from jars that are verified each time, and keeps what it acknowledged.

Seen to fail: jars taken without a look at their checksum; a download put in its place before it is verified; all jars
fetched again by each that waited; the settings given not passed on; a listener on every address; a brief server
compiled like any other.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from consent_ledger.runtime.local import Kafka, LocalServerError, homes, jars
from consent_ledger.runtime.local import java as java_module
from consent_ledger.runtime.local.jars import Jar

CACHE = homes.cache_root() / f"kafka-{jars.KAFKA_VERSION}"
TINY = b"not really a jar"
BIG = b"x" * (2 << 20)


def jar(name: str, content: bytes = TINY) -> Jar:
    return Jar(group="org.example", name=name, version="1.0", sha256=hashlib.sha256(content).hexdigest())


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Serve every jar as `TINY` from a repository on this machine, and count who asks for what."""
    counter: Counter[str] = Counter()

    class Repository(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            counter[self.path.rpartition("/")[2]] += 1
            found = self.path.endswith(".jar") and "absent" not in self.path
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(TINY) if found else 0))
            self.end_headers()
            self.wfile.write(TINY if found else b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Repository) as repository:
        settings = tmp_path / "jgo.conf"
        settings.write_text(f"[repositories]\ncentral = http://127.0.0.1:{repository.server_port}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
        thread = threading.Thread(target=repository.serve_forever)
        thread.start()
        yield counter
        repository.shutdown()
        thread.join()


async def produce(server: Kafka, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=server.bootstrap_servers, acks="all", max_request_size=4 << 20
    ) as producer:
        await producer.send_and_wait(topic, value)


async def sizes(server: Kafka, topic: str, count: int) -> list[int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=server.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    found = [len((await consumer.getone()).value) for _ in range(count)]
    await consumer.stop()
    return found


async def test_what_was_acknowledged_survives_a_kill_and_is_there_on_the_same_port() -> None:
    with Kafka(settings={"log.retention.check.interval.ms": "1234"}, brief=True) as server:
        assert "-XX:TieredStopAtLevel=1" in psutil.Process(server.pid).cmdline()
        address, admin = server.bootstrap_servers, AIOKafkaAdminClient(bootstrap_servers=server.bootstrap_servers)
        await admin.start()
        settings = await admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, "1")])
        await admin.create_topics([NewTopic("big", 1, 1, topic_configs={"max.message.bytes": str(3 << 20)})])
        await admin.close()
        listeners = {c.laddr.ip for c in psutil.Process(server.pid).net_connections() if c.status == psutil.CONN_LISTEN}
        await produce(server, "big", BIG)

        server.kill()
        server.start()
        await produce(server, "big", b"after the kill")

        assert await sizes(server, "big", 2) == [len(BIG), len(b"after the kill")]
        assert server.bootstrap_servers == address
        assert listeners <= {"127.0.0.1", "::ffff:127.0.0.1"}
        assert ("log.retention.check.interval.ms", "1234") in [entry[:2] for entry in settings[0].resources[0][4]]

        server.stop()
        assert server.pid is None
        assert (server.home / "data" / ".kafka_cleanshutdown").exists()


def test_a_changed_jar_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    jars.verified(CACHE, lambda _: None, jars.listed())
    for listed in jars.listed():
        (tmp_path / listed.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / listed.path).symlink_to(CACHE / listed.path)
    changed = tmp_path / jars.listed()[0].path
    content = changed.read_bytes()
    changed.unlink()
    changed.write_bytes(content[:-1] + b"!")
    server = Kafka(cache=tmp_path)

    with pytest.raises(LocalServerError, match=r"kafka_2\.13-4\.1\.1\.jar is not .* changed or damaged: remove it"):
        server.start()

    assert server.pid is None
    server.close()


def test_with_all_jars_there_nothing_is_asked_of_the_network(tmp_path: Path, asked: Counter[str]) -> None:
    report: list[str] = []
    listed = [jar("one"), jar("two")]
    jars.verified(tmp_path / "cache", report.append, listed)
    asked.clear()

    again = jars.verified(tmp_path / "cache", report.append, listed)

    assert [path.read_bytes() for path in again] == [TINY, TINY]
    assert not asked


def test_starts_at_the_same_time_fetch_each_jar_once_and_tell_how_far_they_are(
    tmp_path: Path, asked: Counter[str]
) -> None:
    report: list[str] = []
    listed = [jar(f"part{number}") for number in range(12)]

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: jars.verified(tmp_path / "cache", report.append, listed), range(3)))

    assert found[0] == found[1] == found[2]
    assert {asked[path.name] for path in found[0]} == {1}
    assert report[0] == "Kafka 4.1.1: fetching 12 jars, about 44 MB for all"
    assert report[-1] == "Kafka 4.1.1: 12 of 12 jars, 0.0 MB"


@pytest.mark.usefixtures("asked")
def test_a_download_that_is_not_what_is_listed_never_reaches_the_cache(tmp_path: Path) -> None:
    with pytest.raises(LocalServerError, match=r"org\.example:wrong:1\.0 that is listed"):
        jars.verified(tmp_path / "cache", lambda _: None, [jar("wrong", b"what is listed")])

    assert not list((tmp_path / "cache").rglob("*.jar"))


@pytest.mark.usefixtures("asked")
def test_a_jar_that_cannot_be_had_is_one_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LocalServerError, match=r"org\.example:absent:1\.0 could not be fetched .*CONSENT_KAFKA_BOOT"):
        jars.verified(tmp_path / "cache", lambda _: None, [jar("absent"), jar("present")])


def test_a_start_that_fails_gives_kafkas_own_reason(tmp_path: Path) -> None:
    server = Kafka(tmp_path / "kafka", settings={"log.retention.ms": "soon"})

    with pytest.raises(LocalServerError, match=r"(?s)ended while it started.*Invalid value soon.*log\.retention\.ms"):
        server.start()

    assert server.pid is None
    server.close()


def test_a_java_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java_module, "package_directory", lambda *_: None)
    monkeypatch.setenv("JAVA_HOME", str(_install_java(tmp_path / "old", "11.0.2")))
    monkeypatch.setenv("PATH", str(_install_java(tmp_path / "older", "1.8.0_392") / "bin"))

    with pytest.raises(LocalServerError, match="Kafka needs Java 17 or newer"):
        java_module.java()
    monkeypatch.setenv("PATH", str(_install_java(tmp_path / "new", "21.0.1") / "bin"))

    assert java_module.java() == tmp_path / "new" / "bin" / "java"


def _install_java(home: Path, version: str) -> Path:
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    return home
