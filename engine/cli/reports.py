"""`whoelse report`: the funnel, the arms of variants, who was never asked, and the speed to the prospect, in plain bars, as CSV or
as JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.options import config_option, configuration, example, json_option, only_rep_option, whose, working
from engine.cli.output import count, now, print_json, say, stamp, table

if TYPE_CHECKING:
    from engine.core.proportion import Share
    from engine.installation import Installation
    from engine.reports import Comparison, Coverage, Funnel, Past, Speed

commands = click.Group()

BAR_COLUMNS = 24
PARTS = ("funnel", "variants", "coverage", "speed")
WAITING_MAX = 10


@commands.command(
    "report",
    short_help="What came of it: funnel, variants, coverage, speed.",
    epilog=example(
        "whoelse report",
        "whoelse report funnel --by rep,period --period quarter --since 2026-01-01",
        "whoelse report coverage --csv > never-asked.csv",
    ),
)
@click.argument("part", metavar="[funnel|variants|coverage|speed]", default="")
@click.option("--by", metavar="NAMES", default="", help="Groups of the funnel: rep, sequence, step, variant, period.")
@click.option("--period", metavar="LENGTH", default="month", help="What a period is: week, month, quarter, year.")
@click.option("--since", metavar="DATE", default="", help="Only what was sent since that day, like 2026-01-01.")
@click.option("--until", metavar="DATE", default="", help="Only what was sent up to that day.")
@only_rep_option
@click.option(
    "--csv", "as_csv", is_flag=True, help="Print a table for a spreadsheet (the funnel, if no part is named)."
)
@config_option
@json_option
def report(
    part: str,
    by: str,
    period: str,
    since: str,
    until: str,
    rep: str,
    as_csv: bool,
    config: Path,
    as_json: bool,
) -> None:
    """What came of it: how many clients were asked, confirmed, named and introduced somebody, who was met and won; which variant
    did better, if that can be claimed; who was never asked and why; how soon prospects heard from you."""
    from engine.reports import PERIODS, past

    if part and part not in PARTS:
        raise click.BadParameter(f"{part!r} is none of {', '.join(PARTS)}", param_hint="PART")
    if period not in PERIODS:
        raise click.BadParameter(f"{period!r} is none of {', '.join(PERIODS)}", param_hint="--period")
    groups = _groups(by)
    first, last = _day(since, "--since"), _day(until, "--until")
    loaded = configuration(config)
    whose(loaded, rep)
    inst = working(loaded)
    mailbox = loaded.mailbox(rep)
    address = mailbox.address if mailbox else ""
    found = past(inst, period, first, last, address)
    told = Told(inst, found, groups, address, first)
    if as_csv:
        sys.stdout.write(told.csv(part or "funnel"))
    elif as_json:
        print_json({name: told.json(name) for name in PARTS if part in ("", name)})
    else:
        for name in (part,) if part else PARTS:
            told.say(name)


def _groups(by: str) -> tuple[str, ...]:
    from engine.reports import GROUPS

    names = tuple(name.strip() for name in by.split(",") if name.strip())
    for name in names:
        if name not in GROUPS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(GROUPS)}", param_hint="--by")
    return names


def _day(text: str, option: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise click.BadParameter(f"{text!r} is no date; write it like 2026-03-02", param_hint=option) from None


class Told:
    """The parts of one report, each in the form that is wanted."""

    def __init__(self, inst: Installation, found: Past, groups: Sequence[str], rep: str, since: date | None) -> None:
        self.inst, self.found, self.groups, self.rep, self.since = inst, found, groups, rep, since

    def say(self, part: str) -> None:
        {"funnel": self._say_funnel, "variants": self._say_variants, "coverage": self._say_coverage}.get(
            part, self._say_speed
        )()

    def json(self, part: str) -> Any:
        makers: dict[str, Callable[[], Any]] = {
            "funnel": lambda: [_funnel_row(f) for f in self._funnel(self.groups or ALL_GROUPS)],
            "variants": lambda: [_comparison_json(c) for c in self._comparisons()],
            "coverage": lambda: _coverage_json(self._coverage()),
            "speed": lambda: [_speed_json(s) for s in self._speeds()],
        }
        return makers[part]()

    def csv(self, part: str) -> str:
        from engine.reports import STAGES
        from engine.sheets import csv_text

        match part:
            case "funnel":
                groups = self.groups or ALL_GROUPS
                return csv_text([*groups, *STAGES], [_funnel_row(f) for f in self._funnel(groups)])
            case "variants":
                rows = [row for c in self._comparisons() for row in _arm_rows(c)]
                return csv_text(ARM_COLUMNS, rows)
            case "coverage":
                return csv_text(CLIENT_COLUMNS, _coverage_json(self._coverage())["never_asked"])
        return csv_text(SPEED_COLUMNS, [_speed_json(s) for s in self._speeds()])

    # --- what is counted ---------------------------------------------------------------------------------------------

    def _funnel(self, by: Iterable[str]) -> list[Funnel]:
        from engine.reports import funnel

        return funnel(self.found, by)

    def _comparisons(self) -> list[Comparison]:
        from engine.reports import comparisons

        return comparisons(self.found)

    def _coverage(self) -> Coverage:
        from engine.reports import coverage

        return coverage(self.inst, now(), self.rep)

    def _speeds(self) -> list[Speed]:
        from engine.reports import speeds

        return speeds(self.inst, now(), self.rep, self.since)

    # --- for the terminal --------------------------------------------------------------------------------------------

    def _say_funnel(self) -> None:
        from engine.reports import STAGES, funnel

        for total in funnel(self.found, total=True):
            say("Clients who were asked, and what came of it:")
            _say_table([(stage, str(total.counts[stage]), *_bar(total.share(stage))) for stage in STAGES])
        if not self.found.sent:
            say("No client has got an email yet.\n")
            return
        for by in [self.groups] if self.groups else [("rep",), ("sequence",), ("period",)]:
            found = funnel(self.found, by, total=by in [("rep",), ("period",)])
            rows = [tuple(f.group.values()) + tuple(str(f.counts[stage]) for stage in STAGES) for f in found]
            say(f"By {', '.join(by)}:")
            _say_table([(*by, *STAGES), *rows])

    def _say_variants(self) -> None:
        found = self._comparisons()
        if not found:
            return
        say("Variants, by the share of clients who reached the goal (95 % intervals):")
        for comparison in found:
            say(f"  {comparison.sequence}: {comparison.step} ({comparison.goal})")
            rows = [(arm, f"{s.count} of {s.of}", _range(s), *_bar(s)) for arm, s in comparison.arms.items()]
            for line in table(rows, "    "):
                say(line.rstrip())
            say(f"    {_verdict(comparison)}")
        say()

    def _say_coverage(self) -> None:
        from engine.reports import WHYS

        found = self._coverage()
        never = len(found.unasked)
        say(f"{count(found.clients, 'client')}: {found.asked} asked, {never} never asked" + (":" if never else "."))
        whys = [unasked.why for unasked in found.unasked]
        rows = [(str(whys.count(why)), words) for why, words in WHYS.items() if why in whys]
        _say_table(rows)
        if rows:
            say("Who they are: whoelse report coverage --csv\n")

    def _say_speed(self) -> None:
        found = self._speeds()
        say("Speed to the prospect, from the introduction to the first contact:")
        rows = [(s.rep, f"within 30 minutes {_of(s.soon)}", f"within 48 hours {_of(s.warm)}") for s in found]
        _say_table(rows or [("nobody was introduced yet",)])
        waiting = [(s.rep, referral) for s in found for referral in s.waiting]
        for rep, referral in waiting[:WAITING_MAX]:
            say(f"  {referral.prospect.name or referral.prospect.email or '(erased)'} still waits for {rep}")


def _say_table(rows: Sequence[Sequence[str]]) -> None:
    for line in table(rows, "  "):
        say(line.rstrip())
    say()


def _bar(share: Share) -> tuple[str, str]:
    """The share in words, and as a bar that any terminal can show."""
    if share.rate is None:
        return "", ""
    return f"{share.rate:.0%}", "#" * round(share.rate * BAR_COLUMNS)


def _range(share: Share) -> str:
    low, high = share.interval
    return f"({low:.0%} to {high:.0%})"


def _of(share: Share) -> str:
    return f"{share.count} of {share.of} {_range(share)}" if share.of else "0 of 0"


def _verdict(comparison: Comparison) -> str:
    claimed, p = comparison.claim, f"p = {comparison.claim.p:.2g}"
    if len(comparison.arms) < 2:
        return "only one arm has been sent yet: no difference can be claimed"
    if not claimed.better:
        return f"no difference can be claimed ({p})"
    return f"{claimed.better} does better than {claimed.worse} ({p})"


# --- for programs ----------------------------------------------------------------------------------------------------

ALL_GROUPS = ("rep", "sequence", "step", "variant", "period")
ARM_COLUMNS = ("sequence", "step", "goal", "variant", "reached", "of", "low", "high", "p", "better", "worse")
CLIENT_COLUMNS = ("email", "name", "company", "rep", "why", "reason")
SPEED_COLUMNS = ("rep", "within_30_minutes", "of_30_minutes", "within_48_hours", "of_48_hours", "waiting")


def _funnel_row(funnel: Funnel) -> dict[str, Any]:
    from engine.reports import STAGES

    return {**funnel.group, **{stage: funnel.counts[stage] for stage in STAGES}}


def _arm_rows(comparison: Comparison) -> list[dict[str, Any]]:
    claimed = comparison.claim
    head = {"sequence": comparison.sequence, "step": comparison.step, "goal": comparison.goal}
    tail = {"p": round(claimed.p, 6), "better": claimed.better, "worse": claimed.worse}
    return [{**head, **_arm_json(arm, share), **tail} for arm, share in comparison.arms.items()]


def _arm_json(arm: str, share: Share) -> dict[str, Any]:
    low, high = share.interval
    return {"variant": arm, "reached": share.count, "of": share.of, "low": round(low, 4), "high": round(high, 4)}


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    claimed = comparison.claim
    return {
        "sequence": comparison.sequence,
        "step": comparison.step,
        "goal": comparison.goal,
        "arms": [_arm_json(arm, share) for arm, share in comparison.arms.items()],
        "p": claimed.p,
        "better": claimed.better or None,
        "worse": claimed.worse or None,
    }


def _coverage_json(coverage: Coverage) -> dict[str, Any]:
    never = [
        {"email": u.client.email, "name": u.client.name, "company": u.client.company, "rep": u.client.owner,
         "why": u.why, "reason": u.reason}
        for u in coverage.unasked
    ]  # fmt: skip
    return {"clients": coverage.clients, "asked": coverage.asked, "never_asked": never}


def _speed_json(speed: Speed) -> dict[str, Any]:
    return {
        "rep": speed.rep,
        "within_30_minutes": speed.soon.count,
        "of_30_minutes": speed.soon.of,
        "within_48_hours": speed.warm.count,
        "of_48_hours": speed.warm.of,
        "waiting": [
            f"{r.prospect.name or r.prospect.email} since {stamp(r.introduced_at, 'UTC')}" for r in speed.waiting
        ],
    }
