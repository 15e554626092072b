"""Random registers over small pools, so that groups, joint purposes, sources and names collide often."""

from random import Random
from typing import Any

Object = dict[str, Any]

CONTROLLERS = ("ant", "bee", "cat", "dog")
PURPOSES = ("news", "club", "file", "deal", "care")
COUNTRIES = ("BE", "NL", "DK", "FR", "IT", "XX", None)
CHANNELS = ("email", "phone", "sms", "post", "device", "media", "internal")
REGISTERS = ("list", "other")
TTLS = ("P7D", "P30D", "P1M", "P3Y")


def maybe(chance: Random, odds: float, **fields: Any) -> Object:
    """Give the fields, so often."""
    return fields if chance.random() < odds else {}


def register(chance: Random) -> Object:
    names = CONTROLLERS[: chance.choice((1, 2, 2, 3, 3, 4))]
    purposes = [
        purpose
        for name in names
        for ids in [chance.sample(PURPOSES, chance.randint(1, 3))]
        for purpose in _purposes(chance, name, ids, names)
    ]
    return {
        "controllers": {name: _controller(chance) for name in names},
        "purposes": purposes,
        "sources": _sources(chance, names),
        "dnc_registers": {name: {"max_age": "P7D" if name == "list" else "P1M"} for name in REGISTERS},
    }


def _controller(chance: Random) -> Object:
    return {
        "group": chance.choice(("pets", "pets", "farm", None)),
        "country": chance.choice(COUNTRIES),
        **maybe(chance, 0.7, default_objection_scope=chance.choice(("group", "entity"))),
    }


def _sources(chance: Random, names: tuple[str, ...]) -> Object:
    own = {f"web:{name}": {"controllers": [name]} for name in names}
    both = {"controllers": chance.sample(names, min(2, len(names)))}
    return own | {"desk": both, "agency": {"controllers": list(names)}, "feed": {"controllers": []}}


def _purposes(chance: Random, controller: str, ids: list[str], names: tuple[str, ...]) -> list[Object]:
    found = [{"controller": controller, "id": name, **_terms(chance, names)} for name in ids]
    silent = [one for one in found if one.get("inactivity_ttl")]
    if silent and chance.random() < 0.7:
        underlying = chance.choice(silent)
        asking: Object = {
            "controller": controller, "id": "ask", "basis": "legitimate-interest", "repermission_for": underlying["id"],
            "channels": sorted({*underlying["channels"], "email"}),
            **maybe(chance, 0.8, direct_marketing=True), **maybe(chance, 0.2, dnc=[chance.choice(REGISTERS)]),
        }  # fmt: skip
        found.append(asking)
    return found


def _terms(chance: Random, names: tuple[str, ...]) -> Object:
    kind = chance.choice(("consent",) * 6 + ("marketing",) * 4 + ("other",) * 3 + ("any",))
    usual: Object = {"channels": chance.sample(CHANNELS, chance.randint(1, 3))}
    usual |= maybe(chance, 0.3, joint_with=[chance.choice(names)])
    usual |= maybe(chance, 0.25, withdrawal_group=chance.choice(("g", "h")))
    usual |= maybe(chance, 0.15, restriction_exempt=True) | maybe(chance, 0.15, erasure_exempt=True)
    usual |= maybe(chance, 0.3, dnc=chance.choice((["list"], ["list", "other"], ["other"])))
    usual |= maybe(chance, 0.25, inactivity_ttl=chance.choice(TTLS))
    if kind == "consent":
        return usual | _consent(chance)
    if kind == "marketing":
        soft = maybe(chance, 0.7, soft_opt_in=True)
        return {"basis": "legitimate-interest", "direct_marketing": True} | usual | soft
    if kind == "other":
        return {"basis": chance.choice(("legitimate-interest", "legitimate-interest", "public-task"))} | usual
    bases = ("contract", "contract", "legal-obligation", "vital-interest", "public-task", "legitimate-interest")
    return {"basis": chance.choice(bases)} | usual | maybe(chance, 0.2, direct_marketing=True)


def _consent(chance: Random) -> Object:
    return {
        "basis": "consent",
        **maybe(chance, 0.65, direct_marketing=True),
        **maybe(chance, 0.15, double_opt_in=True),
        **maybe(chance, 0.15, consent_ttl=chance.choice(TTLS)),
        **maybe(chance, 0.1, min_text_version=2),
        **maybe(chance, 0.1, min_age=chance.choice((13, 16, 18))),
        **maybe(chance, 0.1, iss=True),
        **maybe(chance, 0.3, age_gate=chance.choice(("declared", "signal"))),
    }
