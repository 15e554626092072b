"""What has to be written so that a part of the live view says what the view says that was made anew. Pure.

A row that is right keeps its version, and so its record on the topic. One that is not gets a higher one than it had.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from consent_ledger.store.rebuild import Group
from consent_ledger.store.view import Changes, Head, Row

_NOTHING_OWN = b"{}"


@dataclass
class Dropped:
    """What goes: rows that stand on another partition than they should, addresses, dossiers."""

    rows: set[bytes] = field(default_factory=set)
    idents: set[bytes] = field(default_factory=set)
    dossiers: set[int] = field(default_factory=set)


def replace(live: Group, anew: Group, head: Head, needed: Mapping[str, int]) -> tuple[Changes, Dropped]:
    """Say what changes of all that hangs together; takes versions and numbers of dossiers from `head`.

    `needed`: by controller, the oldest version of the register under which a row may have been made.
    """
    changes, dropped = Changes(), Dropped()
    hashes_of: dict[int, list[bytes]] = {}
    for hash_, id_ in sorted(anew.idents.items()):
        hashes_of.setdefault(id_, []).append(hash_)
    used: set[int] = set()
    for id_, hashes in hashes_of.items():
        home = _home(live, hashes, used, head)
        used.add(home)
        dossier = anew.dossiers[id_]
        if live.dossiers.get(home) != dossier:
            changes.dossiers[home] = (dossier.controller, dossier.facts, dossier.due_at)
        changes.idents.update({hash_: home for hash_ in hashes if live.idents.get(hash_) != home})
    dropped.dossiers = live.dossiers.keys() - used
    dropped.idents = live.idents.keys() - anew.idents.keys()
    _rows(live, anew, head, needed, changes, dropped)
    return changes, dropped


def _home(live: Group, hashes: list[bytes], used: set[int], head: Head) -> int:
    """Choose the live dossier that becomes this one: the oldest of its addresses that is free, else a new one."""
    free = sorted({live.idents[hash_] for hash_ in hashes if hash_ in live.idents} - used)
    if free:
        return free[0]
    head.next_dossier += 1
    return head.next_dossier - 1


def _rows(
    live: Group, anew: Group, head: Head, needed: Mapping[str, int], changes: Changes, dropped: Dropped
) -> None:  # fmt: skip
    for hash_, row in sorted(anew.rows.items()):
        was = live.rows.get(hash_)
        if was is None or was[:3] != row[:3]:
            if was is not None:
                dropped.rows.add(hash_)
        elif was.decisions == row.decisions and was.register_version >= needed.get(row.controller, 0):
            continue
        head.seq = max(head.seq, was.seq if was else 0) + 1
        changes.rows.append(Row(hash_, *row._replace(seq=head.seq)))
    # An address that ever had a row keeps one for ever.
    for hash_, was in sorted(live.rows.items()):
        if hash_ not in anew.rows and was.decisions != _NOTHING_OWN:
            head.seq = max(head.seq, was.seq) + 1
            nothing = was._replace(seq=head.seq, register_version=head.register_version, decisions=_NOTHING_OWN)
            changes.rows.append(Row(hash_, *nothing))
