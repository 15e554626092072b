"""The processing register in force: who decides, for which purposes, on which basis, fed by which sources."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec

from consent_ledger.domain import register_checks, signing
from consent_ledger.domain.errors import ConsentError

CONSENT: Final = "consent"
REFUSALS: Final = frozenset(
    {"consent-withdrawn", "objection-raised", "complaint-received"}
    | {"erasure-requested", "erasure-executed", "restriction-placed"}
)
"""What a subject refuses, or had carried out: shared by joint controllers (Art. 26(3))."""
RESTRICTIVE: Final = REFUSALS | {"delivery-failed", "age-established", "preference-register-imported"}
"""Types that count from any source and are widened rather than dropped."""
PARTS: Final = ("controllers", "sources", "dnc_registers")
Key = tuple[str, str]


class RegisterError(ConsentError):
    """The register cannot be loaded; `problems` says everything that is wrong with it."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class Controller(msgspec.Struct, frozen=True, kw_only=True):
    """A legal entity that decides. `country`: ISO 3166, for the age of Art. 8 where the subject's is unknown."""

    name: str
    group: str | None = None
    country: str | None = None
    objects_as_group: bool = False


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The rule of a purpose without its name.

    A purpose that asks permission anew for another is marketing if that one is, and needs its do-not-call registers.

    Two purposes of a controller on equal terms get equal answers wherever nothing names either of them.
    """

    basis: str
    column: str
    direct_marketing: bool
    double_opt_in: bool
    consent_ttl: str | None
    min_text_version: int | None
    soft_opt_in: bool
    inactivity_ttl: str | None
    repermission_for: str | None
    dnc: tuple[str, ...]
    min_age: int | None
    age_gate: str | None
    iss: bool
    country: str | None
    joint: frozenset[str]
    restriction_exempt: bool
    erasure_exempt: bool


class Purpose(msgspec.Struct, frozen=True, kw_only=True):
    """A specific aim of one controller (Art. 5(1)(b)). `terms.joint`: the joint controllers besides this one."""

    controller: str
    id: str
    channels: tuple[str, ...]
    withdrawal_group: str | None
    terms: Terms


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Register:
    """A register version in tables. Two registers are never equal: results are cached by the object."""

    version: int
    document: Mapping[str, Any]
    controllers: Mapping[str, Controller]
    purposes: Mapping[Key, Purpose]
    sources: Mapping[str, frozenset[str]]
    source_keys: Mapping[str, tuple[bytes, ...]]
    """Source → its Ed25519 public keys, by one of which its events must be signed; missing: they need not be."""
    call_registers: Mapping[str, str]
    """Do-not-call register → how old its snapshot may be (ISO 8601)."""
    groups: Mapping[str, frozenset[str]]
    _of: Mapping[str, tuple[Purpose, ...]] = field(repr=False)

    def purposes_of(self, controller: str) -> tuple[Purpose, ...]:
        """Give the purposes of a controller in the order of registration; none for an unknown one."""
        return self._of.get(controller, ())

    def serves(self, source: str, controller: str) -> bool:
        """Tell whether a source is registered for a controller (Art. 28, 32)."""
        return controller in self.sources.get(source, ())

    def callers(self, call_register: str) -> tuple[str, ...]:
        """Name the controllers with a purpose that must ask this do-not-call register, sorted."""
        return tuple(sorted({p.controller for p in self.purposes.values() if call_register in p.terms.dnc}))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the register allows and the gate will refuse, or leaves open."""
        return tuple(register_checks.warnings(self.document))


def parse(document: Mapping[str, Any]) -> Register:
    """Check a complete register and compile it. Raises `RegisterError` with all problems found."""
    problems = tuple(register_checks.problems(document))
    if problems:
        raise RegisterError(problems)
    return compile(document, 0)


def compile(document: Mapping[str, Any], version: int) -> Register:  # noqa: A001 - as in re.compile
    """Put a checked register, which may be empty, into tables."""
    controllers = {
        name: Controller(
            name=name, group=one.get("group"), country=one.get("country"),
            objects_as_group=one.get("default_objection_scope") == "group",
        )
        for name, one in document.get("controllers", {}).items()
    }  # fmt: skip
    rows = {(row["controller"], row["id"]): row for row in document.get("purposes", ())}
    joint = _joint(rows.values())
    purposes = {key: _purpose(row, controllers, joint, _asked_for(row, rows)) for key, row in rows.items()}
    return Register(
        version=version,
        document=document,
        controllers=controllers,
        purposes=purposes,
        sources={name: frozenset(one.get("controllers", ())) for name, one in document.get("sources", {}).items()},
        source_keys={
            name: tuple(signing.public_key(key) for key in one["keys"])
            for name, one in document.get("sources", {}).items()
            if one.get("keys")
        },
        call_registers={name: one["max_age"] for name, one in document.get("dnc_registers", {}).items()},
        groups={
            group: frozenset(name for name, one in controllers.items() if one.group == group)
            for group in {one.group for one in controllers.values()}
            if group is not None
        },
        _of={name: tuple(p for p in purposes.values() if p.controller == name) for name in controllers},
    )


def _asked_for(row: Mapping[str, Any], rows: Mapping[Key, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Give the purpose for which a purpose asks permission anew; the purpose itself if it asks for none."""
    return rows.get((row["controller"], row.get("repermission_for") or row["id"]), row)


def _purpose(
    row: Mapping[str, Any],
    controllers: Mapping[str, Controller],
    joint: Mapping[Key, frozenset[str]],
    asked_for: Mapping[str, Any],
) -> Purpose:
    controller = controllers.get(row["controller"])
    # To ask for permission to market is marketing, and a call to ask for it is a call.
    marketing = row.get("direct_marketing") is True or asked_for.get("direct_marketing") is True
    terms = Terms(
        basis=row["basis"],
        column=_column(row["basis"], marketing=marketing),
        direct_marketing=marketing,
        double_opt_in=bool(row.get("double_opt_in")),
        consent_ttl=row.get("consent_ttl"),
        min_text_version=row.get("min_text_version"),
        soft_opt_in=bool(row.get("soft_opt_in")),
        inactivity_ttl=row.get("inactivity_ttl"),
        repermission_for=row.get("repermission_for"),
        dnc=tuple(dict.fromkeys((*(row.get("dnc") or ()), *(asked_for.get("dnc") or ())))),
        min_age=row.get("min_age"),
        age_gate=row.get("age_gate"),
        iss=bool(row.get("iss")),
        country=controller.country if controller else None,
        joint=joint.get((row["controller"], row["id"]), frozenset()),
        restriction_exempt=bool(row.get("restriction_exempt")),
        erasure_exempt=bool(row.get("erasure_exempt")),
    )
    channels = tuple(dict.fromkeys(row["channels"]))
    return Purpose(
        controller=row["controller"],
        id=row["id"],
        channels=channels,
        withdrawal_group=row.get("withdrawal_group"),
        terms=terms,
    )


def _column(basis: str, *, marketing: bool) -> str:
    """Name the column of the tables of refusals (specification 6.6, 6.8) that a purpose stands in.

    Direct marketing on any basis but consent can be objected to like marketing on legitimate interest (Art. 21(2)).
    """
    if basis == CONSENT:
        return "consent, marketing" if marketing else "consent"
    if marketing:
        return "marketing"
    return "other" if basis in ("legitimate-interest", "public-task") else "contract"


def _joint(rows: Iterable[Mapping[str, Any]]) -> dict[Key, frozenset[str]]:
    """Give the joint controllers of every purpose: who names whom does not matter (Art. 26(3))."""
    circles: dict[str, list[set[str]]] = {}
    for row in rows:
        if row.get("joint_with"):
            known = circles.setdefault(row["id"], [])
            circle = {row["controller"], *row["joint_with"]}
            for other in [one for one in known if one & circle]:
                known.remove(other)
                circle |= other
            known.append(circle)
    return {
        (member, name): frozenset(circle) - {member}
        for name, known in circles.items() for circle in known for member in circle
    }  # fmt: skip


def merge(current: Register | Mapping[str, Any] | None, document: Mapping[str, Any]) -> dict[str, Any]:
    """Give the register after a load: what the load names is replaced, everything else stays.

    Raises `RegisterError` for a load of another shape, one that names a purpose twice, or one that changes the basis of
    a purpose: a new basis is a new purpose (Art. 13(1)(c)).
    """
    before = current.document if isinstance(current, Register) else current or {}
    if not isinstance(document, Mapping) or not all(isinstance(document.get(part, {}), Mapping) for part in PARTS):
        raise RegisterError(["a register is an object with controllers, purposes, sources and dnc_registers"])
    rows = document.get("purposes", [])
    if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) for row in rows):
        raise RegisterError(["purposes: must be a list of objects"])
    known = {(row["controller"], row["id"]): row for row in before.get("purposes", ())}
    loaded = {(row.get("controller"), row.get("id")): row for row in rows}
    problems = ["purposes: one is registered twice"] if len(loaded) < len(rows) else []
    problems += [
        f"purpose {key[0]}/{key[1]}: the basis cannot change, register a new purpose"
        for key in loaded.keys() & known.keys() if loaded[key].get("basis") != known[key]["basis"]
    ]  # fmt: skip
    if problems:
        raise RegisterError(problems)
    merged: dict[str, Any] = {part: {**before.get(part, {}), **document.get(part, {})} for part in PARTS}
    return merged | {"purposes": list({**known, **loaded}.values())}


def changed_purposes(old: Register | None, new: Register) -> frozenset[Key]:
    """Name the purposes, by controller and id, for which a decision made under the old register no longer stands.

    A changed rule changes its purpose and those that ask permission for it. A changed controller, source, or list of
    known purposes or withdrawal groups can change who and what a refusal reaches: all purposes of every controller that
    the changed one shares a group, a source or a purpose with.
    """
    if old is None:
        return frozenset(new.purposes)
    stirred = set(_stirred(old, new))
    near = stirred.union(*(_neighbours(register, stirred) for register in (old, new)))
    changed = {
        key
        for key, purpose in new.purposes.items()
        if key[0] in near
        or old.purposes.get(key) != purpose
        or any(old.call_registers.get(one) != new.call_registers.get(one) for one in purpose.terms.dnc)
    }
    asking = (key for key, purpose in new.purposes.items() if (key[0], purpose.terms.repermission_for) in changed)
    return frozenset(changed.union(asking))


def _stirred(old: Register, new: Register) -> Iterator[str]:
    """Name the controllers of which more than the rule of single purposes changed."""
    for name, controller in new.controllers.items():
        names = [{(p.id, p.withdrawal_group) for p in one.purposes_of(name)} for one in (old, new)]
        if old.controllers.get(name) != controller or names[0] != names[1]:
            yield name
    for name in old.sources.keys() | new.sources.keys():
        before, after = old.sources.get(name), new.sources.get(name)
        if before != after:
            yield from (before or frozenset()) | (after or frozenset())


def _neighbours(register: Register, controllers: Iterable[str]) -> set[str]:
    """Name every controller that shares a group, a source or a joint purpose with one of these."""
    found: set[str] = set()
    for name in controllers:
        found |= same_group(register, name) | common_source(register, name)
        for purpose in register.purposes_of(name):
            found |= purpose.terms.joint
    return found


def same_group(register: Register, controller: str) -> frozenset[str]:
    """Name the controllers of the same group, itself included; nobody where it belongs to none."""
    known = register.controllers.get(controller)
    return register.groups.get(known.group, frozenset()) if known and known.group else frozenset()


@lru_cache(maxsize=1024)
def common_source(register: Register, controller: str) -> frozenset[str]:
    """Name the controllers that a source serves which also serves this one."""
    return frozenset().union(*(served for served in register.sources.values() if controller in served))
