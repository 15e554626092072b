"""A gate for Postfix: mail of a marked stream goes only to those who may have it, judged at RCPT TO."""

from consent_ledger.connectors.postfix.server import run
from consent_ledger.connectors.postfix.settings import BadConfigurationError, Configuration, load

__all__ = ["BadConfigurationError", "Configuration", "load", "run"]
