"""What must be right in a processing register before it may be loaded (Art. 5(1)(b), 9, 13(1)(c))."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from consent_ledger.domain import durations, signing

BASES: Final = ("consent", "contract", "legal-obligation", "vital-interest", "public-task", "legitimate-interest")
CHANNELS: Final = ("email", "phone", "sms", "post", "device", "media", "internal")
_SCOPES: Final = (None, "entity", "group")
_AGE_GATES: Final = (None, "declared", "signal")
_DURATIONS: Final = ("consent_ttl", "inactivity_ttl", "evidence_retention", "retention")
_PERIODS: Final = ("consent_ttl", "inactivity_ttl", "retention")
_UNTIL_WITHDRAWN: Final = "→W"
_FLAGS: Final = ("direct_marketing", "double_opt_in", "soft_opt_in", "iss", "restriction_exempt", "erasure_exempt")
_FIELDS: Final = frozenset(
    {"controller", "id", "basis", "channels", "min_text_version", "repermission_for", "dnc", "min_age", "age_gate"}
    | {"withdrawal_group", "joint_with", "name", "description", "doc", "special_categories", "valid_from", "retention"}
    | {*_DURATIONS, *_FLAGS}
)

# An aim that only says "other interests", or that a legitimate interest requires it, could cover anything.
_VAGUE: Final = re.compile(
    r"^\W*((any|all|other|further|various|general|andere?|overige|diverse|verdere|algemene|alle|autres|sonstige)\W+)*"
    r"((legitimate|lawful|business|legitieme?|gerechtvaardigde?|zakelijke)\W+)?"
    r"(purposes?|aims?|interests?|reasons?|doel(einden?|en)?|belang(en)?|redenen|zwecke|interessen|fins)\W*$"
    r"|(legitimate|legitieme?|gerechtvaardigde?)\s+(interests?|belang(en)?)\b.*\b(require|vereis|nodig|necess|demand)",
    re.IGNORECASE,
)


def problems(document: Mapping[str, Any]) -> Iterator[str]:
    """Find everything for which a complete register must be refused; each names its place and no data of a person."""
    parts = {"controllers": dict, "sources": dict, "dnc_registers": dict, "purposes": list}
    wrong = [name for name, shape in parts.items() if not isinstance(document.get(name, shape()), shape)]
    if wrong:
        yield from (f"{name}: must be {'a list' if parts[name] is list else 'an object'}" for name in wrong)
        return
    yield from _controllers(document)
    yield from _sources(document)
    keys = Counter((p.get("controller"), p.get("id")) for p in _purposes(document))
    yield from (f"purpose {controller}/{name}: registered twice" for (controller, name), n in keys.items() if n > 1)
    for purpose in document.get("purposes", ()):
        if not isinstance(purpose, dict) or not _is_name(purpose.get("id")):
            yield "purposes: every purpose is an object with an id"
            continue
        place = f"purpose {purpose.get('controller')}/{purpose['id']}"
        yield from (f"{place}: {problem}" for problem in _purpose(document, purpose))


def without_period(document: Mapping[str, Any]) -> Iterator[str]:
    """Name the purposes that do not say how long their data are kept, which no register in production may leave open.

    What says it (Art. 13(2)(a)): a period of retention, the silence after which an address is no longer used, the
    lifetime of consent, or, for a consent, that it lasts until it is withdrawn. What the law requires, it also limits.
    """
    for purpose in _purposes(document):
        if purpose.get("basis") == "legal-obligation" or any(purpose.get(field) for field in _PERIODS):
            continue
        doc = purpose.get("doc")
        doc = doc if isinstance(doc, dict) else {}
        if doc.get("retention") or _UNTIL_WITHDRAWN in str(doc.get("retention_in_seed")):
            continue
        remedy = "set consent_ttl or retention" if purpose.get("basis") == "consent" else "set retention"
        yield f"purpose {purpose.get('controller')}/{purpose.get('id')}: no retention period: {remedy}"


def warnings(document: Mapping[str, Any]) -> Iterator[str]:
    """Find purposes that are registered and that the gate will yet refuse, and what is left open or to no effect."""
    groups = Counter((p.get("controller"), p.get("withdrawal_group")) for p in _purposes(document))
    for purpose in _purposes(document):
        place = f"purpose {purpose.get('controller')}/{purpose.get('id')}"
        if _description(purpose) is None:
            yield f"{place}: no description"
        if purpose.get("direct_marketing") and purpose.get("basis") == "legitimate-interest":
            yield from (f"{place}: {channel} will answer EPRIVACY_NO_BASIS" for channel in _without_basis(purpose))
        elif purpose.get("direct_marketing") and purpose.get("basis") != "consent":
            yield f"{place}: direct marketing on this basis is treated as marketing on legitimate interest"
        if len(purpose.get("dnc") or ()) > 1:
            yield f"{place}: a reader cut off from the service checks the first do-not-call register only"
        if purpose.get("withdrawal_group") and groups[purpose.get("controller"), purpose["withdrawal_group"]] == 1:
            yield f"{place}: alone in the withdrawal group {purpose['withdrawal_group']}"
    open_ended = Counter(one.partition("/")[0].removeprefix("purpose ") for one in without_period(document))
    for controller, number in open_ended.items():
        yield f"controller {controller}: {number} purposes without a retention period, which production refuses"


def _without_basis(purpose: Mapping[str, Any]) -> Iterator[str]:
    """Name the channels that ePrivacy Art. 13 closes to marketing on legitimate interest."""
    needed = {"email": "soft_opt_in", "sms": "soft_opt_in", "phone": "dnc"}
    if purpose.get("repermission_for"):
        return
    for channel in purpose.get("channels", ()):
        if channel == "device" or (channel in needed and not purpose.get(needed[channel])):
            yield channel


def _controllers(document: Mapping[str, Any]) -> Iterator[str]:
    for name, controller in document.get("controllers", {}).items():
        if not isinstance(controller, dict):
            yield f"controller {name}: must be an object"
        elif controller.get("default_objection_scope") not in _SCOPES:
            yield f"controller {name}: default_objection_scope is entity or group"
        elif controller.get("default_objection_scope") == "group" and not controller.get("group"):
            yield f"controller {name}: objections count for a group, but it is in none"
        elif not all(isinstance(controller.get(key), str | None) for key in ("group", "country")):
            yield f"controller {name}: group and country are text"
    for name, call_register in document.get("dnc_registers", {}).items():
        if not isinstance(call_register, dict) or not _is_duration(call_register.get("max_age")):
            yield f"do-not-call register {name}: max_age must be a duration"


def _sources(document: Mapping[str, Any]) -> Iterator[str]:
    controllers = document.get("controllers", {})
    for name, source in document.get("sources", {}).items():
        served = source.get("controllers") if isinstance(source, dict) else None
        if not _are_names(served):
            yield f"source {name}: controllers must be a list of names"
        else:
            yield from (f"source {name}: unknown controller {one}" for one in served or () if one not in controllers)
        keys = source.get("keys", []) if isinstance(source, dict) else []
        if not isinstance(keys, list) or not all(_is_key(one) for one in keys):
            yield f"source {name}: keys must be a list of Ed25519 public keys"


def _purpose(document: Mapping[str, Any], purpose: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"unknown field {field}" for field in sorted(purpose.keys() - _FIELDS))
    if purpose.get("basis") not in BASES:
        yield "basis must be one of " + ", ".join(BASES)
    channels = purpose.get("channels")
    if not _are_names(channels) or not channels or not set(channels) <= set(CHANNELS):
        yield "channels must be some of " + ", ".join(CHANNELS)
    if _is_unspecific(purpose):
        yield "no specific aim (Art. 5(1)(b))"
    doc = purpose.get("doc")
    if purpose.get("special_categories") or (isinstance(doc, dict) and doc.get("special_categories")):
        yield "special categories of data (Art. 9) are not modelled"
    yield from _values(purpose)
    yield from _references(document, purpose)


def _is_unspecific(purpose: Mapping[str, Any]) -> bool:
    description = _description(purpose)
    if description is not None and (not description.strip() or _VAGUE.search(description)):
        return True
    return _VAGUE.search(purpose["id"].replace("-", " ")) is not None


def _values(purpose: Mapping[str, Any]) -> Iterator[str]:
    for field in _DURATIONS:
        if purpose.get(field) is not None and not _is_duration(purpose[field]):
            yield f"{field} must be a duration"
    for field in _FLAGS:
        if not isinstance(purpose.get(field), bool | None):
            yield f"{field} must be true or false"
    for field in ("min_age", "min_text_version"):
        if not isinstance(purpose.get(field), int | None) or isinstance(purpose.get(field), bool):
            yield f"{field} must be a whole number"
    if not isinstance(purpose.get("withdrawal_group"), str | None):
        yield "withdrawal_group must be text"
    if purpose.get("age_gate") not in _AGE_GATES:
        yield "age_gate is declared or signal"


def _references(document: Mapping[str, Any], purpose: Mapping[str, Any]) -> Iterator[str]:
    controllers = document.get("controllers", {})
    if purpose.get("controller") not in controllers:
        yield "unknown controller"
    for field, known in (("joint_with", controllers), ("dnc", document.get("dnc_registers", {}))):
        names = purpose.get(field)
        if not _are_names(names or []):
            yield f"{field} must be a list of names"
        else:
            yield from (f"{field}: {name} is not registered" for name in names or () if name not in known)
    if purpose.get("controller") in (purpose.get("joint_with") or ()):
        yield "joint_with: a controller is not joint with itself"
    underlying = purpose.get("repermission_for")
    if underlying is not None:
        found = [
            p
            for p in _purposes(document)
            if (p.get("controller"), p.get("id")) == (purpose.get("controller"), underlying)
        ]
        if not found or found[0].get("repermission_for"):
            yield "repermission_for must name another purpose of the controller that asks no permission itself"
        elif not found[0].get("inactivity_ttl"):
            yield "repermission_for names a purpose without inactivity_ttl"


def _purposes(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [purpose for purpose in document.get("purposes", ()) if isinstance(purpose, dict)]


def _description(purpose: Mapping[str, Any]) -> str | None:
    """Give the aim in words; None when there is none at all, which older registers leave to the id."""
    doc = purpose.get("doc")
    text = purpose.get("description", doc.get("description") if isinstance(doc, dict) else None)
    return None if text is None else str(text)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(_is_name(one) for one in value)


def _is_key(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(signing.public_key(value))
    except signing.SigningKeyError:
        return False


def _is_duration(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(durations.parse(value))
    except durations.DurationError:
        return False
