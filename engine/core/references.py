"""What one part of a sequence file says of another: ids, anchors, goto targets, the steps and variables that scenarios speak
of. It looks at the values as they were written, so that one broken part hides no problem of the others."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from engine.core.duration import NAME, At, parse_at
from engine.core.language import ANCHOR
from engine.core.problem import did_you_mean, near
from engine.core.shapes import Spot


def check(spot: Spot) -> None:
    """Report what does not fit together in a sequence file, and a file name by which nothing could refer to it."""
    stem = spot.file.rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".yml")
    if not re.fullmatch(NAME, stem):
        spot.report("file-name", f'has the file name "{stem}"', "small letters, digits and _, a letter first")
    steps = [step for step in _items(spot, "steps") if isinstance(step.value, dict)]
    steps = [replace(step, who=f'step "{step.value.get("id")}"') for step in steps]
    ids: dict[str, int] = {}
    for step in steps:
        name = str(step.value.get("id"))
        if "id" in step.value and ids.setdefault(name, step.line) != step.line:
            step.report("duplicate-id", "stands twice", f"the first is in line {ids[name]}", at="id")
        _check_anchors(step, spot.value.get("needs"))
    for step in steps:
        _check_targets(step, f" of {step.who}", ids)
    _check_targets(spot, "", ids)
    drafts = {str(step.value.get("id")) for step in steps if step.value.get("approve") is True}
    for scenario in _items(spot, "scenarios"):
        _check_scenario(scenario, ids, drafts)
        _check_values(scenario, spot.value.get("needs"))


def _items(spot: Spot, key: str) -> list[Spot]:
    value = spot.value.get(key) if isinstance(spot.value, dict) else None
    return spot.child(key).items() if isinstance(value, list) else []


def _check_anchors(step: Spot, needs: object) -> None:
    types = {name: str(kind) for name, kind in needs.items()} if isinstance(needs, dict) else {}
    dates = [name for name, kind in types.items() if kind.endswith(("date", "datetime"))]
    for key in ("at", "until"):
        at = _quiet_at(step.value.get(key))
        if at is None or at.anchor == ANCHOR:
            continue
        spot, kind = step.child(key), types.get(at.anchor)
        if kind is None:
            hint = did_you_mean(at.anchor, [ANCHOR, *dates])
            spot.report("anchor", f'counts from "{at.anchor}", which needs does not declare', hint)
        elif at.anchor not in dates:
            spot.report("anchor", f'counts from "{at.anchor}", a {kind}', "an anchor is a date or a datetime")


def _quiet_at(value: object) -> At | None:
    try:
        return parse_at(value) if isinstance(value, str) else None
    except ValueError:  # reported where the key was read
        return None


def _check_targets(spot: Spot, owner: str, ids: Iterable[str]) -> None:
    when = spot.value.get("when")
    for event, handler in when.items() if isinstance(when, dict) else ():
        target = handler.get("goto") if isinstance(handler, dict) else None
        if isinstance(target, str) and target not in ids:
            named = spot.child("when").child(event, f'handler "{event}"{owner}').child("goto")
            named.report("goto", f'goes to "{target}", which is no step', did_you_mean(target, ids))


def _check_scenario(spot: Spot, ids: Iterable[str], drafts: Iterable[str]) -> None:
    """Steps that are none, and drafts that are none: deciding on one that never waits tries nothing."""
    for part, keys in (("given", ("done", "approved", "rejected")), ("expect", ("sent", "skipped"))):
        for item in _items(spot, part):
            for key in keys:
                step = item.value.get(key) if isinstance(item.value, dict) else None
                if not isinstance(step, str):
                    continue
                named = replace(item.child(key), who=f'scenario "{spot.value.get("name")}"')
                if step not in ids:
                    named.report("scenario", f'speaks of "{step}", which is no step', did_you_mean(step, ids))
                elif key in ("approved", "rejected") and step not in drafts:
                    named.report("scenario", f'decides on "{step}", which is no draft', "give the step approve: true")


def _check_values(scenario: Spot, needs: object) -> None:
    known = needs if isinstance(needs, dict) else {}
    named = (
        replace(scenario, who=f'scenario "{scenario.value.get("name")}"')
        if isinstance(scenario.value, dict)
        else scenario
    )
    changes = [item for item in _items(named, "given") if isinstance(item.value, dict)]
    for owner, key in ((named, "with"), *((item, "change") for item in changes)):
        values = owner.value.get(key) if isinstance(owner.value, dict) else None
        for name in values if isinstance(values, dict) else ():
            if name not in known:
                owner.child(key).report(
                    "scenario", f'gives "{name}", which needs does not declare', near(name, known), at=name
                )
