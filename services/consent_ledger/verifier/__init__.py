"""Checks what the log proves. Stands alone: nothing of the service, no database, and no network but for `remote`."""
