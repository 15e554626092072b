"""`python -m consent_ledger.api`: one HTTP process."""

from consent_ledger.api.server import serve
from consent_ledger.runtime.clock import SystemClock
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.telemetry import configure_logging, run, start_metrics

if __name__ == "__main__":
    settings = Settings()
    configure_logging(settings.log_level)
    start_metrics(settings)
    run(serve(settings, KeyFile(settings.key_file), SystemClock()))
