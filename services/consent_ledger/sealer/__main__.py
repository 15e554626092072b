"""`python -m consent_ledger.sealer`: one sealer process, which seals or stands by."""

from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.telemetry import configure_logging, run, start_metrics
from consent_ledger.sealer.app import Sealer

if __name__ == "__main__":
    settings = Settings()
    configure_logging(settings.log_level)
    start_metrics(settings)
    run(Sealer(settings, KeyFile(settings.key_file)).run())
