"""A Kafka that only lets in who knows a password, over TLS: a certificate authority, a broker, and its one user."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consent_ledger.runtime.local import Kafka
from consent_ledger.runtime.local.ports import LOOPBACK, free_port

USER: Final = "consent"
PASSWORD: Final = "not-in-any-log"
_MECHANISM: Final = "scram-sha-512"
_PEM: Final = serialization.Encoding.PEM


class SecuredKafka(Kafka):
    """Kafka with a second listener, for clients with a password, over TLS."""

    def __init__(self, home: Path, certificate: Path) -> None:
        plain, controller, self.secured_port = free_port(), free_port(), free_port()
        listeners = {"PLAINTEXT": plain, "SASL_SSL": self.secured_port}
        addresses = [f"{name}://{LOOPBACK}:{port}" for name, port in listeners.items()]
        ours = "listener.name.sasl_ssl"
        super().__init__(
            home,
            port=plain,
            settings={
                "listeners": ",".join([*addresses, f"CONTROLLER://{LOOPBACK}:{controller}"]),
                "advertised.listeners": ",".join(addresses),
                "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
                f"{ours}.ssl.keystore.type": "PEM",
                f"{ours}.ssl.keystore.location": str(certificate),
                f"{ours}.sasl.enabled.mechanisms": _MECHANISM.upper(),
                f"{ours}.{_MECHANISM}.sasl.jaas.config":
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            },
        )  # fmt: skip

    def add_user(self) -> None:
        """Let the user in, as Kafka's own tool does."""
        credential = f"{_MECHANISM.upper()}=[iterations=4096,password={PASSWORD}]"
        arguments = [
            "--bootstrap-server", self.bootstrap_servers, "--alter", "--entity-type", "users", "--entity-name", USER,
            "--add-config", credential,
        ]  # fmt: skip
        self._configure(arguments)

    def _configure(self, arguments: Sequence[str]) -> None:
        command = self._run_java("kafka.admin.ConfigCommand", arguments=arguments)
        done = subprocess.run(command, check=False, timeout=90, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def secured_kafka(path: Path) -> Iterator[dict[str, Any]]:
    """Start such a Kafka, and give the settings of who may use it."""
    authority, certificate = path / "ca.pem", path / "broker.pem"
    write_certificates(authority, certificate)
    with SecuredKafka(path / "kafka", certificate) as server:
        server.add_user()
        yield {
            "kafka_bootstrap_servers": f"{LOOPBACK}:{server.secured_port}",
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": _MECHANISM.upper(),
            "kafka_username": USER,
            "kafka_password": PASSWORD,
            "kafka_ca_file": authority,
        }


def write_certificates(authority: Path, certificate: Path) -> None:
    """Write the authority's certificate, and the broker's with its key."""
    signing, broker = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate("test authority", signing.public_key(), "test authority", signing, is_authority=True)
    leaf = _certificate("broker", broker.public_key(), "test authority", signing, is_authority=False)
    authority.write_bytes(root.public_bytes(_PEM))
    key = broker.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    certificate.write_bytes(key + leaf.public_bytes(_PEM))


def _certificate(
    name: str, key: ec.EllipticCurvePublicKey, issuer: str, signing: ec.EllipticCurvePrivateKey, *, is_authority: bool
) -> x509.Certificate:
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(LOOPBACK))]), critical=False)
    )
    return made.sign(signing, hashes.SHA256())


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
