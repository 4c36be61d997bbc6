"""The whole report as one HTML file that a sales lead opens on Monday: what to do first, then the numbers. It holds all that it
shows, asks no server for anything and runs no script; its own policy forbids both."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from engine import charts, origins, rates
from engine.installation import Installation
from engine.reports import (
    STAGES,
    WHYS,
    Comparison,
    Coverage,
    Funnel,
    Past,
    Speed,
    comparisons,
    coverage,
    funnel,
    past,
    span,
    speeds,
)

FOLDER = Path(__file__).parent / "page"
#: The series of the picture over time.
SHOWN = ("asked", "introduced", "won")
BENCHMARKS: Mapping[str, float] = {
    "published: cold email, under": origins.COLD_LEADS,
    "published: referred leads, about": origins.REFERRED_LEADS,
}
LISTED_MAX = 12
CLIENTS_MAX = 500


@dataclass(frozen=True)
class Figures:
    """Everything that the page tells, counted at one moment. `rep` is empty for the whole team."""

    at: datetime
    rep: str
    since: date | None
    until: date | None
    period: str
    past: Past
    total: Funnel
    leads: origins.Leads
    variants: Sequence[Comparison]
    emails: Sequence[rates.Rate]
    coverage: Coverage
    referrers: Sequence[origins.Referrer]
    customers: Sequence[origins.Customer]
    tree: Sequence[origins.Branch]
    speeds: Sequence[Speed]


def figures(
    inst: Installation,
    now: datetime,
    rep: str = "",
    since: date | None = None,
    until: date | None = None,
    period: str = "month",
) -> Figures:
    """All of it, at `now` (UTC), of what was sent from `since` to `until` (days in the company's zone; None: all)."""
    found = past(inst, period, since, until, rep)
    first, after = span(inst, since, until)
    nobody = Funnel({}, dict.fromkeys(("answered", *STAGES), 0))
    return Figures(
        now,
        rep,
        since,
        until,
        period,
        found,
        next(iter(funnel(found, total=True)), nobody),
        origins.leads(inst, first, after, rep),
        comparisons(found),
        rates.rates(inst, first, after, rep),
        coverage(inst, now, rep),
        origins.referrers(inst, first, after, rep),
        origins.customers(inst, first, after, rep),
        origins.tree(inst, rep),
        speeds(inst, now, rep, since),
    )


def page(inst: Installation, told: Figures) -> str:
    """The file's text."""
    style = (FOLDER / "report.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=charts.percent, interval=charts.interval)
    template = environment.from_string((FOLDER / "report.html").read_text(encoding="utf-8"))
    return template.render(
        style=Markup(style),  # noqa: S704  our own file
        policy=f"default-src 'none'; style-src '{_digest(style)}'; base-uri 'none'; form-action 'none'",
        told=told,
        company=inst.config.company.name,
        names={mailbox.address: mailbox.name or mailbox.address for mailbox in inst.config.mailboxes},
        stages=STAGES,
        chart=_charts(told),
        bar=lambda rate, kind="fill": Markup(charts.bar(rate, kind)),  # noqa: S704  numbers alone
        whisker=lambda share, top: Markup(charts.whisker(share, top)),  # noqa: S704
        tables=_tables(told),
        span=_span(inst, told),
        at=_local(inst, told.at, "%A %-d %B %Y, %H:%M"),
        day=lambda at: _local(inst, at, "%-d %b %Y"),
        todo=_todo(told),
        whys=_whys(told.coverage),
        sources=_sources(told.customers),
        top=_top(told.emails),
        listed=LISTED_MAX,
        clients_max=CLIENTS_MAX,
        sequence=inst.library.sequences.get,
    )


def _digest(text: str) -> str:
    """By which the policy knows the page's own style (CSP Level 3 §6.7.3)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _local(inst: Installation, at: datetime, form: str) -> str:
    return at.astimezone(ZoneInfo(inst.config.company.zone)).strftime(form)


def _span(inst: Installation, told: Figures) -> str:
    if told.since or told.until:
        parts = [
            f"from {told.since:%-d %b %Y}" if told.since else "",
            f"to {told.until:%-d %b %Y}" if told.until else "",
        ]
        return " ".join(filter(None, parts))
    if not told.past.sent:
        return "nothing was sent yet"
    first = min(sent.mail.at for sent in told.past.sent)
    return f"since {_local(inst, first, '%-d %b %Y')}"


# --- what is drawn and listed ----------------------------------------------------------------------------------------


def _charts(told: Figures) -> Mapping[str, Markup]:
    periods = funnel(told.past, ["period"], total=True)
    series = {stage: [f.counts[stage] for f in periods] for stage in SHOWN}
    covered = [("asked-them", "asked", told.coverage.asked), *_whys(told.coverage)]
    drawn = {
        "funnel": charts.funnel([(stage, told.total.counts[stage]) for stage in STAGES]),
        "benchmark": charts.benchmark(told.leads.met, BENCHMARKS),
        "columns": charts.columns([f.group["period"] for f in periods], series) if periods else "",
        "coverage": charts.parts(covered),
        "family": charts.family(told.tree),
    }
    return {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704  every text in it is escaped


def _tables(told: Figures) -> Sequence[tuple[str, Sequence[Funnel]]]:
    by_segment = funnel(told.past, ["segment"], total=True)
    tables: list[tuple[str, Sequence[Funnel]]] = [
        ("rep", funnel(told.past, ["rep"], total=True)),
        ("sequence", funnel(told.past, ["sequence"])),
    ]
    if any(f.group["segment"] for f in by_segment):
        tables.append(("segment", by_segment))
    return [(name, found) for name, found in tables if found]


def _whys(found: Coverage) -> list[tuple[str, str, int]]:
    """Why clients were never asked: a class for the picture, the words, how many."""
    whys = [unasked.why for unasked in found.unasked]
    return [(f"why-{why.replace(' ', '-')}", words, whys.count(why)) for why, words in WHYS.items() if why in whys]


def _sources(found: Sequence[origins.Customer]) -> list[tuple[str, int]]:
    """How the won prospects were learned of, the most frequent first."""
    said = {
        "reply": "a client's reply that named them",
        "introduction": "an introduction by email",
        "rep": "the rep's word",
    }
    sources = [said.get(customer.source, customer.source) for customer in found]
    return sorted(((name, sources.count(name)) for name in set(sources)), key=lambda item: (-item[1], item[0]))


def _top(found: Sequence[rates.Rate]) -> float:
    """The end of the scale on which the reply rates are drawn."""
    return max([0.5, *(rate.replied.rate or 0.0 for rate in found)])


def _todo(told: Figures) -> Sequence[tuple[str, str]]:
    """What a sales lead should see to first: a sentence, and the command that shows more."""
    waiting = sum(len(speed.waiting) for speed in told.speeds)
    free = sum(unasked.why == "no moment" for unasked in told.coverage.unasked)
    unsure = sum(unasked.why == "confirmed" for unasked in told.coverage.unasked)
    said: list[tuple[int, str, str]] = [
        (
            waiting,
            f"{_people(waiting)} introduced to us and still {_have(waiting)} no word from us",
            "whoelse report speed",
        ),
        (free, f"{_clients(free)} could be asked today: happy, rested and never asked", "whoelse report coverage"),
        (
            unsure,
            f"{_clients(unsure)} never told us whether we kept our promise: a value review would ask",
            "whoelse report coverage",
        ),
    ]
    return [(sentence, command) for number, sentence, command in said if number]


def _people(number: int) -> str:
    return "1 person was" if number == 1 else f"{number} people were"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"


def _clients(number: int) -> str:
    return "1 client" if number == 1 else f"{number} clients"
