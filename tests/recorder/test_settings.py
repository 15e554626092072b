"""Settings come from the environment, say what is missing, and never show a secret.

Seen to fail: the password a plain text; a lease of no time let through; a setting that is missing taken for empty;
SASL spoken whenever a user is set.
"""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from consent_ledger.runtime.settings import MissingSettingError, Settings


def settings(**fields: Any) -> Settings:
    return Settings.model_validate({"_env_file": None, **fields})


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONSENT_DATABASE_URL", "postgresql://user:s3cret@127.0.0.1/ledger")
    monkeypatch.setenv("CONSENT_LEASE_SECONDS", "2.5")
    (tmp_path / ".env").write_text("CONSENT_TOPIC_PREFIX=other.\n")

    read = Settings()

    assert (read.dsn, read.lease_seconds, read.topic_prefix) == (
        "postgresql://user:s3cret@127.0.0.1/ledger",
        2.5,
        "other.",
    )


def test_no_secret_is_shown() -> None:
    shown = settings(database_url="postgresql://user:s3cret@127.0.0.1/ledger", kafka_password="s3cret")

    assert "s3cret" not in repr(shown)
    assert "s3cret" not in shown.model_dump_json()


def test_a_setting_that_is_missing_is_named() -> None:
    with pytest.raises(MissingSettingError, match="CONSENT_DATABASE_URL is not set"):
        _ = settings(database_url=None).dsn
    with pytest.raises(MissingSettingError, match="CONSENT_KAFKA_BOOTSTRAP_SERVERS is not set"):
        settings(kafka_bootstrap_servers=None).kafka()


@pytest.mark.parametrize(
    "wrong",
    [{"lease_seconds": 0}, {"partitions": 0}, {"max_staleness": 901}, {"batch_max": 0}, {"log_level": "LOUD"}],
    ids=str,
)
def test_a_setting_out_of_its_limits_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**wrong)


def test_kafka_is_reached_plainly_unless_told_otherwise() -> None:
    assert settings(kafka_bootstrap_servers="127.0.0.1:9092", kafka_username="an").kafka() == {
        "bootstrap_servers": "127.0.0.1:9092",
        "security_protocol": "PLAINTEXT",
    }


def test_sasl_is_passed_through() -> None:
    client = settings(
        kafka_bootstrap_servers="127.0.0.1:9092",
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_username="an",
        kafka_password="s3cret",
    ).kafka()

    assert client["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (client["sasl_plain_username"], client["sasl_plain_password"]) == ("an", "s3cret")


def test_tls_is_passed_through() -> None:
    client = settings(kafka_bootstrap_servers="127.0.0.1:9092", kafka_security_protocol="SSL").kafka()

    assert client["ssl_context"].check_hostname
    assert "sasl_mechanism" not in client
