"""Programs that end with the test run that started them, even where it is killed."""

import shutil

_SETPRIV = shutil.which("setpriv")


def mortal(command: list[str], signal: str = "TERM") -> list[str]:
    """Give the command under which a program gets a signal as soon as its parent is gone; Linux can do that."""
    return [_SETPRIV, "--pdeathsig", signal, "--", *command] if _SETPRIV is not None else command
