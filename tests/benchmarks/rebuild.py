"""What it costs to make the whole view anew, on a throwaway PostgreSQL and Kafka.

    cd tests && python -m benchmarks.rebuild [ENTRIES] [PROCESSES]

Entries are recorded as a recorder does it, by one consent and one withdrawal or objection for most people, before
anything is measured; the live view is left to a viewer. CPU seconds are what counts on a machine that others use too.
"""

import asyncio
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import psutil
from rich.console import Console
from rich.table import Table

import builders
from builders import email, given, objected, withdrawn
from consent_ledger.recorder.prepare import Preparer
from consent_ledger.runtime.clock import SystemClock
from consent_ledger.runtime.local import Kafka, Postgres
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import ledger
from consent_ledger.store.ledger import Batch
from consent_ledger.store.migrate import migrate
from consent_ledger.viewer.app import Viewer
from consent_ledger.viewer.rebuild import Rebuild
from running import Installation, installation, serving, until
from viewer.asking import REGISTER

_BATCH: Final = 1_000
