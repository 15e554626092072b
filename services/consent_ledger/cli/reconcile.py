"""x"""


def reconcile() -> None:
    """X"""
