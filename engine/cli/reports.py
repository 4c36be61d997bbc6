"""`whoelse report`: the funnel, the emails and the arms of variants, who was never asked, who refers, where customers came from
and the speed to the prospect; in plain bars, as CSV, as JSON, or as one page for the browser."""

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
    from engine.origins import Customer, Leads, Referrer
    from engine.rates import Rate
    from engine.reports import Comparison, Coverage, Funnel, Past, Speed

commands = click.Group()

BAR_COLUMNS = 24
PARTS = ("funnel", "emails", "variants", "coverage", "referrers", "customers", "speed")
WAITING_MAX = 10
LISTED_MAX = 10


@commands.command(
    "report",
    short_help="What came of it: funnel, emails, coverage, referrers, speed.",
    epilog=example(
        "whoelse report",
        "whoelse report --html monday.html",
        "whoelse report funnel --by rep,period --period quarter --since 2026-01-01",
        "whoelse report funnel --by client.country",
        "whoelse report coverage --csv > never-asked.csv",
    ),
)
@click.argument("part", metavar="[PART]", default="")
@click.option(
    "--by",
    metavar="NAMES",
    default="",
    help="Groups of the funnel: rep, sequence, step, variant, period, segment, or any client.FIELD.",
)
@click.option("--period", metavar="LENGTH", default="month", help="What a period is: week, month, quarter, year.")
@click.option("--since", metavar="DATE", default="", help="Only what was sent since that day, like 2026-01-01.")
@click.option("--until", metavar="DATE", default="", help="Only what was sent up to that day.")
@only_rep_option
@click.option(
    "--csv", "as_csv", is_flag=True, help="Print a table for a spreadsheet (the funnel, if no part is named)."
)
@click.option("--html", "page", metavar="FILE", type=click.Path(path_type=Path), help="Write all of it as one page.")
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
    page: Path | None,
    config: Path,
    as_json: bool,
) -> None:
    """What came of it: how many clients were asked, confirmed, named and introduced somebody, who was met and won; how the emails
    fare, and which variant did better, if that can be claimed; who was never asked and why; who refers, and where customers came
    from; how soon prospects heard from you. PART is one of funnel, emails, variants, coverage, referrers, customers, speed; a
    segment is a field of that name that you keep of your clients."""
    from engine.reports import PERIODS, past

    if part and part not in PARTS:
        raise click.BadParameter(f"{part!r} is none of {', '.join(PARTS)}", param_hint="PART")
    if period not in PERIODS:
        raise click.BadParameter(f"{period!r} is none of {', '.join(PERIODS)}", param_hint="--period")
    groups = _groups(by)
    first, last = day(since, "--since"), day(until, "--until")
    loaded = configuration(config)
    whose(loaded, rep)
    inst = working(loaded)
    mailbox = loaded.mailbox(rep)
    address = mailbox.address if mailbox else ""
    found = past(inst, period, first, last, address)
    told = Told(inst, found, groups, address, first, last)
    if page:
        _write_page(inst, page, address, first, last, period)
    elif as_csv:
        sys.stdout.write(told.csv(part or "funnel"))
    elif as_json:
        print_json({name: told.json(name) for name in PARTS if part in ("", name)})
    else:
        for name in (part,) if part else PARTS:
            told.say(name)


def _write_page(inst: Installation, file: Path, rep: str, since: date | None, until: date | None, period: str) -> None:
    from engine.errors import UserError
    from engine.report_page import figures
    from engine.report_page import page as text

    try:
        file.write_text(text(inst, figures(inst, now(), rep, since, until, period)), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", str(file), "name another file") from None
    say(f"The report is in {file}: open it in a browser, or send it; it holds all that it shows.")


def _groups(by: str) -> tuple[str, ...]:
    from engine.reports import CLIENT_FIELD, GROUPS

    names = tuple(name.strip() for name in by.split(",") if name.strip())
    for name in names:
        if name not in GROUPS and not (name.startswith(CLIENT_FIELD) and name != CLIENT_FIELD):
            raise click.BadParameter(f"{name!r} is none of {', '.join(GROUPS)}, client.FIELD", param_hint="--by")
    return names


def day(text: str, option: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise click.BadParameter(f"{text!r} is no date; write it like 2026-03-02", param_hint=option) from None


class Told:
    """The parts of one report, each in the form that is wanted."""

    def __init__(
        self,
        inst: Installation,
        found: Past,
        groups: Sequence[str],
        rep: str,
        since: date | None,
        until: date | None,
    ) -> None:
        from engine.reports import span

        self.inst, self.found, self.groups, self.rep, self.since = inst, found, groups, rep, since
        self.first, self.after = span(inst, since, until)

    def say(self, part: str) -> None:
        {
            "funnel": self._say_funnel,
            "emails": self._say_emails,
            "variants": self._say_variants,
            "coverage": self._say_coverage,
            "referrers": self._say_referrers,
            "customers": self._say_customers,
            "speed": self._say_speed,
        }[part]()

    def json(self, part: str) -> Any:
        makers: dict[str, Callable[[], Any]] = {
            "funnel": lambda: [_funnel_row(f) for f in self._funnel(self.groups or ALL_GROUPS)],
            "emails": lambda: [_rate_row(r) for r in self._rates()],
            "variants": lambda: [_comparison_json(c) for c in self._comparisons()],
            "coverage": lambda: _coverage_json(self._coverage()),
            "referrers": lambda: [_referrer_row(r) for r in self._referrers()],
            "customers": lambda: [_customer_row(c) for c in self._customers()],
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
            case "emails":
                return csv_text(RATE_COLUMNS, [_rate_row(r) for r in self._rates()])
            case "referrers":
                return csv_text(REFERRER_COLUMNS, [_referrer_row(r) for r in self._referrers()])
            case "customers":
                return csv_text(CUSTOMER_COLUMNS, [_customer_row(c) for c in self._customers()])
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

    def _rates(self) -> list[Rate]:
        from engine.rates import rates

        return rates(self.inst, self.first, self.after, self.rep)

    def _referrers(self) -> list[Referrer]:
        from engine.origins import referrers

        return referrers(self.inst, self.first, self.after, self.rep)

    def _customers(self) -> list[Customer]:
        from engine.origins import customers

        return customers(self.inst, self.first, self.after, self.rep)

    def _leads(self) -> Leads:
        from engine.origins import leads

        return leads(self.inst, self.first, self.after, self.rep)

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
        self._say_benchmark()
        alone = [("rep",), ("sequence",), ("period",), *([("segment",)] if self._segmented() else [])]
        for by in [self.groups] if self.groups else alone:
            found = funnel(self.found, by, total=by in [("rep",), ("period",), ("segment",)])
            rows = [tuple(f.group.values()) + tuple(str(f.counts[stage]) for stage in STAGES) for f in found]
            say(f"By {', '.join(by)}:")
            _say_table([(*by, *STAGES), *rows])

    def _segmented(self) -> bool:
        from engine.reports import field_of

        return any(field_of(sent.client, "segment") for sent in self.found.sent)

    def _say_benchmark(self) -> None:
        from engine.origins import COLD_LEADS, REFERRED_LEADS

        met = self._leads().met
        if met.of:
            were = f"{met.count} {'was' if met.count == 1 else 'were'} met"
            say(f"Of {count(met.of, 'person', 'people')} referred, {were}: {met.rate:.0%} {_range(met)}.")
            say(f"Published: {REFERRED_LEADS:.0%} of referred leads, under {COLD_LEADS:.0%} of cold emails.\n")

    def _say_emails(self) -> None:
        found = self._rates()
        if not found:
            return
        say("Emails: how many were answered, came back, brought an opt-out (95 % intervals):")
        head = ("", "sent", "answered", "", "came back", "opted out")
        rows = [
            (_step(r), str(r.sent), *_counted(r.replied), str(r.bounced.count), str(r.opted_out.count)) for r in found
        ]
        _say_table([head, *rows])

    def _say_referrers(self) -> None:
        found = self._referrers()
        if not found:
            return
        say("Who refers:")
        rows = [(_client(r), *(str(getattr(r, stage)) for stage in REFERRED)) for r in found[:LISTED_MAX]]
        _say_table([("", *REFERRED), *rows])

    def _say_customers(self) -> None:
        found = self._customers()
        if not found:
            return
        say("Where customers came from:")
        rows = [(_prospect(c), stamp(c.won_at, self.inst.config.company.zone) or "", _thanks(c)) for c in found]
        _say_table([(who, at[:10], thanks) for who, at, thanks in rows[:LISTED_MAX]])

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
            say(f"    {comparison.conclusion}")
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
        say("Speed to the prospect, from the introduction to the first answer:")
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


def _step(rate: Rate) -> str:
    return f"{rate.sequence}: {rate.step}" + (f" ({rate.variant})" if rate.variant else "")


def _counted(share: Share) -> tuple[str, str]:
    return (f"{share.count} of {share.of}", _range(share) if share.of else "")


def _client(referrer: Referrer) -> str:
    client = referrer.client
    return ", ".join(filter(None, (client.name or client.email, client.company))) if "@" in client.email else "(erased)"


def _prospect(customer: Customer) -> str:
    return (
        ", ".join(filter(None, (customer.prospect.name or customer.prospect.email, customer.prospect.company)))
        or "(erased)"
    )


def _thanks(customer: Customer) -> str:
    names = " and ".join(client.name or client.email for client in customer.clients if "@" in client.email)
    return f"thanks to {names or '(erased)'}" + (f", begun by {customer.sequence}" if customer.sequence else "")


# --- for programs ----------------------------------------------------------------------------------------------------

ALL_GROUPS = ("rep", "sequence", "step", "variant", "period")
ARM_COLUMNS = ("sequence", "step", "goal", "variant", "reached", "of", "low", "high", "p", "better", "worse")
CLIENT_COLUMNS = ("email", "name", "company", "rep", "why", "reason")
REFERRED = ("named", "introduced", "met", "won")
REFERRER_COLUMNS = ("email", "name", "company", "rep", *REFERRED)
CUSTOMER_COLUMNS = (
    "prospect",
    "email",
    "company",
    "clients",
    "rep",
    "source",
    "sequence",
    "named_at",
    "won_at",
    "days",
)
RATE_COLUMNS = (
    "sequence", "step", "variant", "sent", "replied", "replied_low", "replied_high", "bounced", "opted_out",
)  # fmt: skip
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


def _rate_row(rate: Rate) -> dict[str, Any]:
    low, high = rate.replied.interval
    return {
        "sequence": rate.sequence,
        "step": rate.step,
        "variant": rate.variant,
        "sent": rate.sent,
        "replied": rate.replied.count,
        "replied_low": round(low, 4),
        "replied_high": round(high, 4),
        "bounced": rate.bounced.count,
        "opted_out": rate.opted_out.count,
    }


def _referrer_row(referrer: Referrer) -> dict[str, Any]:
    client = referrer.client
    who = {"email": client.email if "@" in client.email else "", "name": client.name, "company": client.company}
    return {**who, "rep": client.owner, **{stage: getattr(referrer, stage) for stage in REFERRED}}


def _customer_row(customer: Customer) -> dict[str, Any]:
    who = customer.prospect
    return {
        "prospect": who.name,
        "email": who.email,
        "company": who.company,
        "clients": [client.email for client in customer.clients if "@" in client.email],
        "rep": customer.rep,
        "source": customer.source,
        "sequence": customer.sequence,
        "named_at": stamp(customer.named_at, "UTC"),
        "won_at": stamp(customer.won_at, "UTC"),
        "days": (customer.won_at - customer.named_at).days,
    }


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
