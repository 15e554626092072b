"""Every setting of the service, read from the environment (`CONSENT_*`) or a `.env` file."""

import socket
from pathlib import Path
from typing import Any, Literal

from aiokafka.helpers import create_ssl_context
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from consent_ledger.domain import durations


class Settings(BaseSettings):
    """The settings of one process; `consent doctor` prints them with their descriptions."""

    model_config = SettingsConfigDict(env_prefix="CONSENT_", env_file=".env", extra="ignore", frozen=True)

    database_url: SecretStr | None = Field(None, description="postgresql:// URL; local servers are used without it")
    kafka_bootstrap_servers: str | None = Field(None, description="host:port,…; local servers are used without it")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how to reach Kafka"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="used with the SASL protocols"
    )
    kafka_username: str | None = Field(None, description="SASL user")
    kafka_password: SecretStr | None = Field(None, description="SASL password")
    kafka_ca_file: Path | None = Field(None, description="certificate authority of the brokers, PEM")
    kafka_cert_file: Path | None = Field(None, description="client certificate, PEM")
    kafka_key_file: Path | None = Field(None, description="key of the client certificate, PEM")

    topic_prefix: str = Field("consent.", description="begins the name of every topic")
    partitions: int = Field(8, ge=1, le=512, description="partitions of the events and the suppressions topic")
    key_file: Path = Field(Path("consent-keys.json"), description="key-encryption keys; losing it loses every key")

    production: bool = Field(
        default=False, description="a register must say for every purpose how long its data are kept"
    )
    instance: str = Field(default_factory=socket.gethostname, description="name of this process in leases and metrics")
    assignment: Literal["static", "group"] = Field(
        "static", description="who says which shards a recorder owns: `shards`, or Kafka's consumer group"
    )
    shards: str = Field("all", description="shards this recorder may own: all, or numbers like 0,1,4-8")
    lease_seconds: float = Field(10.0, gt=0.5, le=300, description="how long a silent owner keeps shards, view, topic")
    batch_max: int = Field(1000, ge=1, le=2000, description="records per append")
    fold_max: int = Field(250, ge=1, le=10_000, description="entries per shard that one viewer transaction folds")
    poll_ms: int = Field(1, ge=1, le=1000, description="how often the database looks for work of viewer and relay")
    sweep_chunk: int = Field(500, ge=1, le=10_000, description="dossiers decided again per transaction after a load")
    max_staleness: float = Field(60.0, gt=0, le=900, description="seconds behind Kafka after which every answer is no")
    barrier_ms: int = Field(250, ge=1, le=10_000, description="how long a decision waits for the view to catch up")

    campaign_retention: str = Field("P1Y", description="how long the answers to campaigns are kept, as P1Y or P90D")

    log_origin: str = Field("consent-ledger.local", description="name of the Merkle log, and of the key that signs it")
    log_directory: str | None = Field(
        None, description="directory, or s3://bucket/path?…, where the whole log is kept outside the database as well"
    )
    witnesses: dict[str, str] = Field(
        default_factory=dict, description="JSON: verifier key of a witness of the log → its URL"
    )
    witness_quorum: int = Field(0, ge=0, description="how many witnesses must have signed a checkpoint that is shown")
    seal_seconds: float = Field(1.0, ge=0.01, le=3600, description="longest time an entry waits for a checkpoint")
    seal_max: int = Field(10_000, ge=1, le=1_000_000, description="entries per checkpoint")

    api_host: str = Field("127.0.0.1", description="address the API listens on")
    api_port: int = Field(8080, ge=0, le=65535, description="port of the API")
    public_url: str | None = Field(None, description="where readers of mail reach the API; begins unsubscribe links")
    unsubscribe_mailto: str | None = Field(None, description="address of a mailbox that `consent inbound` reads")
    unsubscribe_source: str = Field("unsubscribe", min_length=1, description="source of events of unsubscribe links")
    outbox: Path | None = Field(
        None, description="file on a lasting disk that keeps unsubscriptions while Kafka is away; none: they get 503"
    )
    inbound_source: str = Field("inbound", min_length=1, description="source of events that mails are read for")
    inbound_mailboxes: dict[str, list[str]] = Field(
        default_factory=dict, description="JSON: address that mail comes back to → its controllers"
    )
    inbound_aside: Path = Field(
        Path("consent-inbound"), description="directory for mails from a pipe that are not understood"
    )
    imap_host: str | None = Field(None, description="server of the mailbox that `consent inbound mailbox` reads")
    imap_port: int = Field(993, ge=1, le=65535, description="its port")
    imap_security: Literal["ssl", "starttls", "none"] = Field("ssl", description="how to reach it")
    imap_ca_file: Path | None = Field(None, description="certificate authority of the server, PEM")
    imap_user: str | None = Field(None, description="whose mailbox")
    imap_password: SecretStr | None = Field(None, description="its password")
    metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics for this process; 0: none")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="what is logged")

    @field_validator("campaign_retention")
    @classmethod
    def _is_duration(cls, text: str) -> str:
        durations.parse(text)
        return text

    @property
    def kafka_settings(self) -> str:
        """The settings to look at when Kafka does not answer, or does not let one in."""
        names = ["BOOTSTRAP_SERVERS"]
        if self.kafka_security_protocol.startswith("SASL"):
            names += ["USERNAME", "PASSWORD", "SASL_MECHANISM"]
        if "SSL" in self.kafka_security_protocol:
            names.append("CA_FILE")
        return ", ".join(f"CONSENT_KAFKA_{name}" for name in names)

    @property
    def dsn(self) -> str:
        """The database's URL. Raises `MissingSettingError` when none is set."""
        if self.database_url is None:
            raise MissingSettingError("CONSENT_DATABASE_URL")
        return self.database_url.get_secret_value()

    def kafka(self) -> dict[str, Any]:
        """Arguments by which any aiokafka client reaches the brokers. Raises `MissingSettingError`."""
        if self.kafka_bootstrap_servers is None:
            raise MissingSettingError("CONSENT_KAFKA_BOOTSTRAP_SERVERS")
        client: dict[str, Any] = {
            "bootstrap_servers": self.kafka_bootstrap_servers,
            "security_protocol": self.kafka_security_protocol,
        }
        if "SSL" in self.kafka_security_protocol:
            client["ssl_context"] = create_ssl_context(
                cafile=self.kafka_ca_file, certfile=self.kafka_cert_file, keyfile=self.kafka_key_file
            )
        if self.kafka_security_protocol.startswith("SASL"):
            if self.kafka_username is None or self.kafka_password is None:
                raise MissingSettingError(f"CONSENT_KAFKA_{'PASSWORD' if self.kafka_username else 'USERNAME'}")
            client["sasl_mechanism"] = self.kafka_sasl_mechanism
            client["sasl_plain_username"] = self.kafka_username
            client["sasl_plain_password"] = self.kafka_password.get_secret_value()
        return client


class MissingSettingError(Exception):
    """A setting without which this process cannot work; the message names it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not set")
