"""What an enrollment brings: from what a person typed or a file held to values that keep in JSON, and from those to what
templates, conditions and anchors see. A date stays a date; a time gets its zone here, once, and is kept in UTC."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import parseaddr
from typing import Any
from zoneinfo import ZoneInfo

from engine.core.language import PERSON_PARTS
from engine.core.sequence import Need, Sequence

# Also what no header takes: line separators. (Lone surrogates come from a terminal that is not UTF-8, and are told as that.)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_ADDRESS = re.compile(r"[^@\s<>]+@[^@\s<>]+\.[^@\s<>]+")
TITLES = frozenset({"mr", "mrs", "ms", "miss", "dr", "prof", "herr", "frau", "m", "mme", "dipl.-ing", "mag"})
PARTS = tuple(PERSON_PARTS)
EXAMPLES = {
    "text": '"a line of text"',
    "number": "10",
    "list": '"the first" -v … "the second"',
    "date": "2026-03-02",
    "datetime": '"2026-03-02 14:30"',
    "person": '"Barry Jones <barry@acme.example>"',
}


@dataclass(frozen=True)
class Refusal:
    """Why somebody is not enrolled. `rule` names the rule, `remedy` says what to do; `override`: a reason may beat it."""

    rule: str
    reason: str
    remedy: str = ""
    override: bool = False

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason


def first_name(name: str) -> str:
    """The first name of a full one: "Dr. Dana Whitfield" and "Whitfield, Dana" are Dana."""
    if "," in name:
        name = name.partition(",")[2].strip() or name
    words = [w for w in name.split() if w.rstrip(".").lower() not in TITLES]
    return words[0] if words else name.strip()


def person(given: Any) -> dict[str, str]:
    """A person from `Barry Jones <barry@acme.example>, Acme Ltd` or from a mapping. Raises ValueError with what is wrong."""
    if isinstance(given, Mapping):
        if unknown := set(given) - set(PARTS):
            raise ValueError(f"has no part {min(unknown)!r}; a person has {', '.join(PARTS)}")
        found = {part: str(given.get(part) or "").strip() for part in PARTS}
    else:
        found = dict.fromkeys(PARTS, "") | _spoken(str(given))
    found = {
        part: " ".join(text.split()) for part, text in found.items()
    }  # a name with a line break would break a header
    refuse_controls(found)
    if not found["name"] and not found["email"]:
        raise ValueError(f"names nobody; write it like {EXAMPLES['person']}")
    if found["email"] and not _ADDRESS.fullmatch(found["email"]):
        raise ValueError(f"has the invalid address {found['email']!r}")
    found["email"] = found["email"].lower()
    found["name"] = found["name"] or found["email"].partition("@")[0].replace(".", " ").title()
    found["first_name"] = found["first_name"] or first_name(found["name"])
    return found


def _spoken(text: str) -> dict[str, str]:
    """`NAME <ADDRESS>, COMPANY`, `NAME, COMPANY` or an address alone."""
    if ">" in text:
        head, _, rest = text.partition(">")
        name, email = parseaddr(head + ">")
        return {"name": name, "email": email or head.partition("<")[2].strip(), "company": rest.strip(" ,()")}
    head, _, company = text.partition(",")
    if "@" in head and " " not in head.strip():
        return {"email": head.strip(), "company": company.strip()}
    return {"name": head.strip(), "company": company.strip()}


def keep(need: Need, given: Any, zone: str) -> Any:
    """What is kept for a need, fit for JSON. A time without offset is in `zone` (IANA, the rep's).

    Raises ValueError with what is wrong, to be read behind the variable's name."""
    refuse_controls(given)
    match need.type:
        case "person":
            return person(given)
        case "list":
            items = list(given) if isinstance(given, list | tuple) else [given]
            if not items or not all(isinstance(i, str | int | float) and str(i).strip() for i in items):
                raise ValueError("must be a list of texts; repeat -v for each, or write a YAML list")
            return [str(i).strip() for i in items]
        case "number":
            return _number(given)
        case "date":
            return _date(str(given)).isoformat()
        case "datetime":
            return _datetime(str(given), zone).isoformat()
    if isinstance(given, Mapping | list | tuple):
        raise ValueError("must be one text")
    if not str(given).strip():
        raise ValueError("is empty")
    return str(given).strip()


def refuse_controls(given: Any) -> None:
    """Raises ValueError for a text, or one in a list or a mapping, that could turn around or break what stands beside it."""
    texts = given.values() if isinstance(given, Mapping) else given if isinstance(given, list | tuple) else [given]
    if any(isinstance(text, str) and _CONTROL.search(text) for text in texts):
        raise ValueError("holds a control character; take it out")


def _number(given: Any) -> int | float:
    try:
        number = float(str(given).replace(",", "."))
    except ValueError as error:
        raise ValueError(f"must be a number, not {given!r}") from error
    if not math.isfinite(number):  # JSON has neither
        raise ValueError(f"must be a number, not {given!r}")
    return int(number) if number.is_integer() else number


def _date(given: str) -> date:
    try:
        return date.fromisoformat(given.strip())
    except ValueError as error:
        raise ValueError(f"must be a date like 2026-03-02, not {given!r}") from error


def _datetime(given: str, zone: str) -> datetime:
    try:
        at = datetime.fromisoformat(given.strip())
    except ValueError as error:
        raise ValueError(f"must be a date and time like 2026-03-02 14:30, not {given!r}") from error
    if len(given.strip()) <= len("2026-03-02"):
        raise ValueError(f"lacks the time of day; write it like {given.strip()} 14:30")
    return (at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def gather(
    sequence: Sequence, given: Mapping[str, Any], defaults: Mapping[str, Any], zone: str
) -> tuple[dict[str, Any], list[Refusal]]:
    """All that a sequence needs, from what was given, else from the defaults; with every fault, not the first only."""
    kept: dict[str, Any] = {}
    faults = [_unknown(name, sequence) for name in given if name not in sequence.needs]
    for name, need in sequence.needs.items():
        example = f"-v {name}={EXAMPLES[need.type]}"
        raw = given.get(name, defaults.get(name))
        if raw is None:
            if not need.optional:
                faults.append(Refusal("missing", f"{sequence.key} needs {name} ({need.type})", f"add {example}"))
            continue
        try:
            kept[name] = keep(need, raw, zone)
        except ValueError as error:
            faults.append(Refusal("wrong", f"{name} {error}", f"for example {example}"))
    return kept, faults


def _unknown(name: str, sequence: Sequence) -> Refusal:
    near = difflib.get_close_matches(name, sequence.needs, n=1)
    known = ", ".join(sequence.needs) or "none"
    remedy = f"did you mean {near[0]}?" if near else f"it knows {known}"
    return Refusal("unknown", f"{sequence.key} has no variable {name}", remedy)


def typed(sequence: Sequence, kept: Mapping[str, Any]) -> dict[str, Any]:
    """What templates and conditions see: dates and times as such, an optional need that was not given as None."""
    seen: dict[str, Any] = {name: None for name, need in sequence.needs.items() if need.optional}
    for name, raw in kept.items():
        kind = sequence.needs[name].type if name in sequence.needs else "text"
        if raw is not None and kind == "date":
            seen[name] = date.fromisoformat(raw)
        elif raw is not None and kind == "datetime":
            seen[name] = datetime.fromisoformat(raw)
        else:
            seen[name] = raw
    return seen


def anchors(sequence: Sequence, kept: Mapping[str, Any]) -> dict[str, date | datetime]:
    """The dates and times among the variables, by which steps are counted."""
    return {
        name: at
        for name, at in typed(sequence, kept).items()
        if at is not None and name in sequence.needs and sequence.needs[name].type in ("date", "datetime")
    }
