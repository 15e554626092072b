"""Which registers follow one another: the one in force, then those that are loaded ahead, each at its instant."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from consent_ledger.domain import register, register_checks


class Ahead(NamedTuple):
    """A load, as it was said, and when it comes into force: then it changes whatever is in force by then."""

    valid_from: datetime
    document: Mapping[str, Any]


def fit(
    current: Mapping[str, Any], schedule: Sequence[Ahead], load: Ahead, *, production: bool = False
) -> dict[str, Any]:
    """Give the whole register as a new load will make it at its instant.

    Of one instant, the later load comes later. Raises `RegisterError` if any register from then on, with the loads that
    are scheduled already, were one that must be refused: so a register that was taken can always come into force. In
    production every purpose of the load must say how long its data are kept.
    """
    earlier = [one for one in schedule if one.valid_from <= load.valid_from]
    later = [one for one in schedule if one.valid_from > load.valid_from]
    before: Mapping[str, Any] = current
    for one in earlier:
        before = register.merge(before, one.document)
    fitted = register.merge(before, load.document)
    register.parse(fitted)
    if production and (problems := list(register_checks.without_period(load.document))):
        raise register.RegisterError(problems)
    after: Mapping[str, Any] = fitted
    for one in later:
        try:
            after = register.merge(after, one.document)
            register.parse(after)
        except register.RegisterError as error:
            instant = one.valid_from.isoformat(timespec="seconds")
            raise register.RegisterError(
                f"with the load scheduled for {instant}: {problem}" for problem in error.problems
            ) from None
    return fitted
