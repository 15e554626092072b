"""A configuration says what is wrong with it before it judges any mail.

Seen to fail: unknown settings passed over; addresses that others can reach listened on; a stream without a criterion,
which would be every mail, accepted; a file's secret shown in the message.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import tomlkit
from typer.testing import CliRunner

from connectors import mailserver
from connectors.gated import STREAM
from consent_ledger.cli.main import app
from consent_ledger.connectors.postfix.settings import BadConfigurationError, load

EXAMPLE = Path(__file__).parents[2] / "deploy" / "postfix" / "gate.toml"
VIEW = {"path": "/var/lib/consent/view", "keys": "/etc/consent/keys.json", "kafka": {"bootstrap_servers": "kafka:9092"}}


def written(path: Path, **parts: object) -> Path:
    file = path / "gate.toml"
    file.write_text(tomlkit.dumps({"view": VIEW, **parts}))
    return file


def policy(**differs: object) -> dict[str, object]:
    return {"listen": "127.0.0.1:10031", "stream": [STREAM], **differs}


def test_the_example_is_a_configuration() -> None:
    made = load(EXAMPLE)

    assert made.policy is not None
    assert len(made.policy.stream) > 1
    assert made.table


@pytest.mark.skipif(mailserver.missing() is not None, reason=str(mailserver.missing()))
def test_postfix_reads_the_example(tmp_path: Path) -> None:
    for name in ("main.cf", "master.cf"):
        shutil.copy(EXAMPLE.parent / name, tmp_path)

    settings = subprocess.run(["postconf", "-c", tmp_path, "-n"], capture_output=True, text=True, check=True)
    services = subprocess.run(["postconf", "-c", tmp_path, "-M"], capture_output=True, text=True, check=True)

    # It warns of settings that it does not know.
    assert (settings.stderr, services.stderr) == ("", "")
    assert services.stdout.count(" inet ") == 2


@pytest.mark.parametrize("listen", ["127.0.0.1:10031", "[::1]:10031", "unix:/var/spool/postfix/private/consent"])
def test_what_only_this_machine_reaches_is_listened_on(tmp_path: Path, listen: str) -> None:
    made = load(written(tmp_path, policy=policy(listen=listen)))

    assert made.policy is not None
    assert made.policy.listen == listen


@pytest.mark.parametrize(
    ("parts", "names"),
    [
        ({}, "nothing to serve"),
        ({"policy": policy(listen="0.0.0.0:10031")}, "loopback"),
        ({"policy": policy(listen="10031")}, "loopback"),
        ({"policy": policy(listen="localhost:smtp")}, "loopback"),
        ({"policy": policy(listen="127.0.0.1:99999")}, "loopback"),
        ({"policy": policy(listen="unix:consent")}, "loopback"),
        ({"table": [{"listen": "192.0.2.1:1", "controller": "a", "purpose": "b"}]}, "loopback"),
        ({"policy": policy(stream=[])}, "$.policy.stream"),
        ({"policy": policy(stream=[{"controller": "a", "purpose": "b"}])}, "criterion"),
        ({"policy": policy(stream=[{**STREAM, "sender": [""]}])}, "$.policy.stream[0].sender"),
        ({"policy": policy(stream=[{**STREAM, "header": ["x"]}])}, "header"),
        ({"policy": policy(stream=[{**STREAM, "client_address": ["192.0.2.1/24"]}])}, "host bits"),
        ({"policy": policy(unmatched="OK")}, "unmatched"),
        ({"policy": policy(), "view": {**VIEW, "max_staleness": 0}}, "max_staleness"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, parts: dict[str, object], names: str) -> None:
    file = written(tmp_path, **parts)

    with pytest.raises(BadConfigurationError) as refused:
        load(file)

    assert names in str(refused.value)
    assert str(file) in str(refused.value)


def test_the_command_refuses_a_bad_file_and_bad_keys_without_showing_them(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"controller": "shop-be", "kid": "1", "alg": "HMAC-SHA-256", "key": "c2VjcmV0!"}))
    bad = written(tmp_path, policy=policy(), view={**VIEW, "keys": str(keys)})

    refused = CliRunner().invoke(app, ["postfix", "policy", "--config", str(bad)])
    missing = CliRunner().invoke(app, ["postfix", "policy", "--config", str(written(tmp_path, policy=policy()))])

    assert (refused.exit_code, missing.exit_code) == (2, 2)
    assert "c2VjcmV0" not in refused.output
    assert "keys.json" in refused.output
    assert "keys.json" in missing.output
