"""A real Apache Kafka on this machine: one process, broker and controller, without containers."""

import base64
import shutil
import signal
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from consent_ledger.runtime.local import homes, jars
from consent_ledger.runtime.local.java import java
from consent_ledger.runtime.local.ports import LOOPBACK, free_port
from consent_ledger.runtime.local.server import LocalServer, Report, silent

_STARTED = "Kafka Server started"
# Of Kafka's defaults, what one process on a small machine needs otherwise.
_SETTINGS: Mapping[str, str] = {
    "node.id": "1",
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # Taken from the heap at the start; the default of 128 MiB would be a quarter of it.
    "log.cleaner.dedupe.buffer.size": str(32 << 20),
    # A killed broker is let in again when its old session has ended: 9 s by default.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}


class Kafka(LocalServer):
    """Kafka 4.1.1 in KRaft mode, on the loopback address only, without authentication.

    `settings` are server properties that replace ours. Records over 1 MiB are accepted by topics whose
    `max.message.bytes` says so. A start after `kill` takes about 3 s longer than one after `stop`. `brief` is for a
    life of minutes: a start takes half the processor time, and what runs for longer gets less fast than it might.
    """

    name: ClassVar[str] = "Kafka"
    stop_signal: ClassVar[int] = signal.SIGTERM
    fast_signal: ClassVar[int] = signal.SIGKILL

    def __init__(
        self,
        home: Path | None = None,
        *,
        port: int | None = None,
        report: Report = silent,
        settings: Mapping[str, str] | None = None,
        heap_mebibytes: int = 512,
        brief: bool = False,
        cache: Path | None = None,
    ) -> None:
        super().__init__(home, port=port, report=report)
        self._settings = dict(settings or {})
        # All that the optimising compiler does in the first minutes is to take the processor from everybody.
        self._options = [f"-Xmx{heap_mebibytes}m", *(["-XX:TieredStopAtLevel=1"] if brief else [])]
        self._cache = cache or homes.cache_root() / f"kafka-{jars.KAFKA_VERSION}"
        self._class_path: Sequence[Path] = ()
        self._java = Path()

    @property
    def bootstrap_servers(self) -> str:
        """What clients connect to."""
        return self.address

    def _prepare(self) -> None:
        self._java = java()
        self._class_path = jars.verified(self._cache, self._report, jars.listed())
        for directory in ("data", "tmp"):
            (self.home / directory).mkdir(exist_ok=True)
        if not (self.home / "data" / "meta.properties").exists():
            self._format()
        controller = f"{LOOPBACK}:{free_port()}"
        properties = {
            **_SETTINGS,
            "log.dirs": str(self.home / "data"),
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.quorum.voters": f"1@{controller}",
            **self._settings,
        }
        _write_properties(self.home / "server.properties", properties)

    def _command(self) -> Sequence[str]:
        return self._run_java("kafka.Kafka", *self._options, arguments=[str(self.home / "server.properties")])

    def _is_ready(self, said: str) -> bool:
        return _STARTED in said

    def _format(self) -> None:
        """Format the data directory as Kafka's own tool does, which ran once for all on this machine."""
        template = self._cache / "formatted"
        if not template.exists():
            with homes.locked(self._cache):
                if not template.exists():
                    self._make_template(template)
        data = self.home / "data"
        shutil.copy(template / "bootstrap.checkpoint", data)
        # Last, for it says that the directory is formatted.
        identity = {"version": "1", "cluster.id": _kafka_uuid(), "node.id": "1", "directory.id": _kafka_uuid()}
        _write_properties(data / "meta.properties", identity)

    def _make_template(self, template: Path) -> None:
        with tempfile.TemporaryDirectory(dir=self._cache, prefix="format-") as work:
            fresh, properties = Path(work, "data"), Path(work, "server.properties")
            nowhere = f"{LOOPBACK}:1"
            listeners = {"listeners": f"CONTROLLER://{nowhere}", "controller.quorum.voters": f"1@{nowhere}"}
            settings = {**_SETTINGS, "process.roles": "controller", "log.dirs": str(fresh), **listeners}
            _write_properties(properties, settings)
            tool = ["format", "--cluster-id", _kafka_uuid(), "--config", str(properties)]
            self._run_to_end(self._run_java("kafka.tools.StorageTool", arguments=tool), "Formatting Kafka's data")
            fresh.replace(template)

    def _run_java(self, main: str, *options: str, arguments: Sequence[str]) -> list[str]:
        fixed = [
            # Kafka's libraries unpack native code there, and a killed process leaves it behind.
            f"-Djava.io.tmpdir={self.home / 'tmp'}",
            "-XX:-UsePerfData",
            "-XX:+ExitOnOutOfMemoryError",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
            # It says when the server answers.
            "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
        ]
        class_path = ":".join(str(path) for path in self._class_path)
        return [str(self._java), *options, *fixed, "-cp", class_path, main, *arguments]


def _kafka_uuid() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode("ascii")


def _write_properties(path: Path, properties: Mapping[str, str]) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text("".join(f"{key}={value}\n" for key, value in properties.items()), encoding="ascii")
    fresh.replace(path)
