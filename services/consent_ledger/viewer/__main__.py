"""`python -m consent_ledger.viewer`: one viewer process, which folds or stands by."""

from consent_ledger.runtime.clock import SystemClock
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.telemetry import configure_logging, run, start_metrics
from consent_ledger.viewer.app import Viewer

if __name__ == "__main__":
    settings = Settings()
    configure_logging(settings.log_level)
    start_metrics(settings)
    run(Viewer(settings, KeyFile(settings.key_file), SystemClock()).run())
