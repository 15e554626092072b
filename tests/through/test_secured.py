"""The whole service on a Kafka that only lets in who knows a password, over TLS.

Seen to fail: the password not handed to the client; the authority not handed to it; a missing user passed on as none.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

import builders
from consent_ledger.cli.checkup import check_up
from consent_ledger.runtime import topics
from consent_ledger.runtime.settings import MissingSettingError, Settings
from through.reader import Told
from through.secured import PASSWORD, secured_kafka
from through.stage import staged

QUESTION = {"controller": "shop-be", "subject": [builders.email()], "purpose": "newsletter", "channel": "email"}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Settings by which the secured Kafka is reached."""
    with secured_kafka(tmp_path_factory.mktemp("secured")) as settings:
        yield settings


async def test_an_event_goes_all_the_way_over_tls_with_a_password(
    secured: dict[str, Any], postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, now = tmp_path_factory.mktemp("home"), datetime(2026, 3, 2, tzinfo=UTC)
    async with staged(
        secured["kafka_bootstrap_servers"], postgres, template, path, register=builders.REGISTER, begin=now, **secured
    ) as stage:
        (published,) = await stage.api.recorded(builders.given())
        await stage.settle()

        told = [*await stage.from_http([QUESTION]), *stage.from_topic([QUESTION])]

    assert published["status"] == "entry"
    assert told == [Told(allow=True, reason="CONSENT")] * 2


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        ({"kafka_password": "guessed"}, "invalid credentials"),
        ({"kafka_ca_file": None}, "certificate verify failed"),
        ({"kafka_security_protocol": "PLAINTEXT"}, "closed"),
    ],
    ids=["password", "authority", "protocol"],
)
async def test_who_is_not_let_in_is_told_why_and_tells_no_password(
    secured: dict[str, Any], wrong: dict[str, Any], cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings.model_validate({**secured, **wrong})

    with pytest.raises(KafkaConnectionError) as refused:
        await topics.apply(settings.kafka(), prefix=settings.topic_prefix, partitions=1)

    assert cause in caplog.text
    assert not any(word in caplog.text + str(refused.value) for word in (PASSWORD, "guessed"))


async def test_doctor_names_the_settings_by_which_one_is_let_in(secured: dict[str, Any]) -> None:
    settings = Settings.model_validate({**secured, "kafka_password": "guessed"})

    checkup = await check_up(settings)

    (problem,) = [one for one in checkup.problems if "Kafka does not answer" in one]
    assert not checkup.reachable
    assert "CONSENT_KAFKA_USERNAME, CONSENT_KAFKA_PASSWORD" in problem
    assert "guessed" not in str(checkup.problems)


@pytest.mark.parametrize("missing", ["username", "password"])
def test_a_password_protocol_without_user_or_password_names_what_is_missing(
    secured: dict[str, Any], missing: str
) -> None:
    settings = Settings.model_validate({**secured, f"kafka_{missing}": None})

    with pytest.raises(MissingSettingError, match=f"CONSENT_KAFKA_{missing.upper()} is not set"):
        settings.kafka()
