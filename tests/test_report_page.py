"""The report as one page: it holds all that it shows, asks nobody for anything, says the same as the tables, and a browser has
nothing to complain about."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import office
import pytest
import servers
from conftest import started
from office import DANA, KIM, LEE, MONDAY, SAM, Office
from test_cli import Whoelse, inst, project, whoelse  # noqa: F401

from engine import charts, inbox
from engine.core.model import Contact
from engine.core.proportion import Share
from engine.origins import customers, leads, referrers, tree
from engine.rates import Rate, rates
from engine.report_page import figures, page
from engine.reports import span

there = office.one_office
new_office = office.new_office
CHROMIUM_SECONDS = 120
SPLIT = {"ask": """
name: Ask
kind: ask
to: client
steps:
  - {id: who_else, variants: {a: who_else, b: again}}
when:
  named: {set: {referral: named}, stop: named}
  declined: {stop: declined}
"""}  # fmt: skip
HOSTILE = '<script src="https://evil.test/x.js"></script>'


@pytest.fixture
def programme(new_office: Callable[..., Office]) -> Office:
    """Eleven clients of two reps who were asked: eight name somebody, three of those are introduced, two met, one won; one opts out, one
    address is dead, one is silent."""
    there = new_office(books=office.library(SPLIT))
    for n in range(11):
        rep, email = (SAM, KIM)[n % 2], f"c{n}@co{n}.test"
        fields = {"segment": ("builders", "carriers")[n % 2]}
        client = there.store.add_contact(Contact("", email, owner=rep, confirmed_at=MONDAY, fields=fields))
        there.enroll(email, "ask", rep=rep)
        name = HOSTILE if n == 3 else f"Client {n}"
        there.store.save_contact(replace(client, name=name, company=f"Co {n}"))
        (mail,) = there.work()
        there.later(minutes=10)
        if n < 8:
            says = f"Talk to Barry Jones at North Ltd, barry{n}@north{n}.test. He has the same problem."
            there.hear(says, sender=email, to=mail, mailbox=rep)
        elif n == 8:
            there.hear("Please remove me from your list and never write again.", sender=email, to=mail, mailbox=rep)
        elif n == 9:
            there.receive(there.report(mail, "5.1.1"), mailbox=rep)
    for n, word in ((0, "introduced"), (1, "introduced"), (2, "introduced"), (0, "met"), (1, "met"), (0, "won")):
        there.later(hours=1)
        inbox.mark(there.inst, f"barry{n}@north{n}.test", word, {}, there.now)
    there.confirmed(LEE)
    return there


def html(there: Office) -> str:
    return page(there.inst, figures(there.inst, there.now))


class Elements(HTMLParser):
    """Every element with its attributes, and the text of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data


# --- what it holds ---------------------------------------------------------------------------------------------------


def test_the_page_tells_what_the_records_say(programme: Office) -> None:
    first, after = span(programme.inst)
    assert [(r.named, r.introduced, r.met, r.won) for r in referrers(programme.inst, first, after)][:3] == [
        (1, 1, 1, 1), (1, 1, 1, 0), (1, 1, 0, 0),
    ]  # fmt: skip
    assert leads(programme.inst, first, after).met == Share(2, 8)
    (won,) = customers(programme.inst, first, after)
    assert (won.prospect.email, won.sequence, [c.name for c in won.clients]) == (
        "barry0@north0.test", "ask", ["Client 0"],
    )  # fmt: skip
    told = " ".join(Elements(html(programme)).text.split())
    for said in (
        "8people were referred", "2of those were met", "1new customers won", "builders", "10 of 12 clients were asked",
        "1 person was introduced to us and still has no word", "no difference can be claimed",
    ):  # fmt: skip
        assert said.lower() in told.lower(), said


def test_what_came_back_counts_for_the_last_email_before_it(programme: Office) -> None:
    found = rates(programme.inst, *span(programme.inst))
    assert {(r.sequence, r.step) for r in found} == {("ask", "who_else")}
    assert {r.variant for r in found} == {"a", "b"}
    total = [sum(getattr(r, part).count for r in found) for part in ("replied", "bounced", "opted_out")]
    assert total == [8, 1, 1] and sum(r.sent for r in found) == 11
    assert sum(r.replied.of for r in found) == 10, "what came back could not be answered"
    assert rates(programme.inst, *span(programme.inst), rep=KIM) != found
    assert rates(programme.inst, programme.now, programme.now + timedelta(days=1)) == []


def test_an_answer_to_a_later_email_is_not_one_to_the_first(there: Office) -> None:
    nudge = there.enroll(DANA)
    there.work()
    there.run(days=3)
    there.later(hours=1)
    there.hear("What do you mean by that?", to=there.rows(nudge)[-1])
    found = {r.step: r for r in rates(there.inst, *span(there.inst))}
    assert (found["first"].replied, found["second"].replied) == (Share(0, 1), Share(1, 1))
    assert isinstance(found["first"], Rate)


def test_who_introduced_whom_goes_on_over_generations_and_a_circle_ends(there: Office) -> None:
    for client, prospect in (
        (DANA, "barry@north.test"),
        ("barry@north.test", "sue@harbour.test"),
        ("sue@harbour.test", DANA),
    ):
        there.confirmed(client)
        inbox.mark(there.inst, client, "named", {"prospect": f"Somebody <{prospect}>"}, there.now)
    (root,) = tree(there.inst)
    assert root.size == 4 and root.referral is None
    assert root.branches[0].branches[0].branches[0].branches == ()
    assert tree(there.inst, rep=KIM) == []
    ElementTree.fromstring(charts.family([root]))


# --- what it must not do ---------------------------------------------------------------------------------------------


def test_the_page_asks_nobody_for_anything_and_runs_nothing(programme: Office) -> None:
    text = html(programme)
    elements = Elements(text)
    tags = {tag for tag, _ in elements.found}
    assert not tags & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "form",
        "audio",
        "video",
        "image",
        "use",
        "base",
    }
    for tag, attributes in elements.found:
        assert not any(name.startswith("on") or name in ("src", "srcset", "style", "action") for name in attributes), (
            tag
        )
        assert attributes.get("href", "#").startswith("#")
    style = text.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style and "@import" not in style
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = (a["content"] for t, a in elements.found if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'") and f"'sha256-{digest}'" in policy and "unsafe" not in policy


def test_a_name_is_never_taken_for_html(programme: Office) -> None:
    text = html(programme)
    assert HOSTILE not in text
    assert HOSTILE in Elements(text).text, "the table says it as it is"
    for svg in re.findall(r"<svg.*?</svg>", text, re.S):
        ElementTree.fromstring(svg)


def test_every_chart_says_in_words_what_it_shows_and_every_table_has_headings(programme: Office) -> None:
    elements = Elements(html(programme))
    svgs = [a for tag, a in elements.found if tag == "svg"]
    assert len([a for a in svgs if a.get("role") == "img"]) == 5
    assert all(a.get("aria-label") or a.get("aria-hidden") == "true" for a in svgs)
    heads = [a for tag, a in elements.found if tag == "th"]
    assert heads and all(a.get("scope") in ("col", "row") for a in heads)
    assert next(a for tag, a in elements.found if tag == "html")["lang"] == "en"
    anchors = {a["href"][1:] for tag, a in elements.found if tag == "a"}
    assert anchors == {a["id"] for tag, a in elements.found if tag == "section" and "id" in a}


def test_a_page_about_nothing_is_a_page_too(there: Office) -> None:
    told = Elements(html(there)).text
    assert "No client has got an email yet." in told and "There are no clients yet." in told


@pytest.mark.usefixtures("project")
def test_the_command_writes_the_page_and_says_where(whoelse: Whoelse, tmp_path: Path) -> None:  # noqa: F811
    ran = whoelse("report", "--html", str(tmp_path / "monday.html"))
    assert ran.code == 0 and "monday.html" in ran.out
    assert (tmp_path / "monday.html").read_text().startswith("<!DOCTYPE html>")
    ran = whoelse("report", "--html", str(tmp_path / "not there" / "monday.html"))
    assert ran.code == 1 and "cannot be written" in ran.err


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture
def chromium() -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        yield started(stack, servers.browser())


@pytest.mark.real
def test_a_browser_shows_it_without_a_complaint_and_without_a_request(
    programme: Office, chromium: str, tmp_path: Path
) -> None:
    file, log = tmp_path / "report.html", tmp_path / "net.json"
    file.write_text(html(programme))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
             f"--log-net-log={log}", "--enable-logging=stderr", "--dump-dom"]  # fmt: skip
    ran = subprocess.run(
        [chromium, *flags, file.as_uri()], capture_output=True, text=True, timeout=CHROMIUM_SECONDS, check=True
    )
    assert "Who introduced whom" in ran.stdout
    assert "CONSOLE" not in ran.stderr, ran.stderr
    asked = {e["params"]["url"] for e in json.loads(log.read_text())["events"] if "url" in e.get("params", {})}
    assert not [url for url in asked if "evil.test" in url or (url.startswith("file:") and url != file.as_uri())]
