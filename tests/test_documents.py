"""Documents: filled in for somebody in their language, as a page that prints, and attached to an email where a step says so."""
# ruff: noqa: F811  (fixtures of other files)

from __future__ import annotations

import email
import email.policy
import html
from collections.abc import Callable
from pathlib import Path

import office
import pytest
from office import DANA, LEE, MONDAY, Office
from test_cli import Whoelse, inst, project, whoelse  # noqa: F401
from test_content import FULL

from engine.core.needs import Refusal
from engine.core.sequence import is_document
from engine.enrollments import Wish, enroll
from engine.installation import Installation
from engine.store import Contact

new_office = office.new_office
TERMS = (
    "partner",
    "qualified_lead",
    "reward",
    "payout_term",
    "repeat_purchases",
    "exclusivity",
    "confidentiality",
    "begins",
    "notice",
)
VALUES = [word for name in TERMS for word in ("-v", f"{name}={FULL[name]}")]


@pytest.fixture
def dana(inst: Installation) -> Installation:
    for address, language in (("dana@acme.example", ""), ("jo@acme.example", "de-AT")):
        inst.store.add_contact(
            Contact("", address, name="Dana Weber", company="Acme", language=language, owner="sam@consulting.example")
        )
    return inst


def test_the_agreement_is_filled_in_as_a_page_that_prints(dana: Installation, whoelse: Whoelse, project: Path) -> None:
    ran = whoelse("document", "agreement", "dana@acme.example", *VALUES)
    assert ran.code == 0, ran.err
    file = project / "Referral agreement between Example Consulting and Acme.html"
    assert f"It is in {file.name}" in " ".join(ran.out.split())
    page = html.unescape(file.read_text(encoding="utf-8"))
    assert "@page{size:A4" in page and "<title>Referral agreement between Example Consulting and Acme</title>" in page
    assert [name for name in TERMS if FULL[name] not in page] == [] and "Dana Weber" in page
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page, "it asks nobody for anything"
    assert "9. Law" not in page, "what is optional may be left out"


def test_it_is_in_the_language_of_whoever_signs_it(dana: Installation, whoelse: Whoelse, project: Path) -> None:
    assert whoelse("document", "agreement", "jo@acme.example", "out.html", *VALUES).code == 0
    assert "Empfehlungsvereinbarung" in (project / "out.html").read_text(encoding="utf-8")


def test_everything_that_is_missing_is_told_at_once_and_nothing_is_written(
    dana: Installation, whoelse: Whoelse, project: Path
) -> None:
    before = set(project.iterdir())
    ran = whoelse("document", "agreement", "dana@acme.example", "-v", "partner=Acme")
    assert ran.code == 1 and "agreement needs qualified_lead, reward, payout_term, repeat_purchases" in ran.err
    assert whoelse("document", "agrement", "dana@acme.example").code == 1
    assert whoelse("document", "agreement", "no@body.example", *VALUES).code == 1
    assert set(project.iterdir()) == before


def test_terms_come_from_a_file_and_no_paper_is_overwritten(
    dana: Installation, whoelse: Whoelse, project: Path
) -> None:
    (project / "terms.yaml").write_text("".join(f'{name}: "{FULL[name]}"\n' for name in TERMS))
    assert whoelse("document", "agreement", "dana@acme.example", "a.html", "--from", "terms.yaml").code == 0
    assert (
        "is there already"
        in whoelse("document", "agreement", "dana@acme.example", "a.html", "--from", "terms.yaml").err
    )


def test_what_is_given_is_no_html(dana: Installation, whoelse: Whoelse, project: Path) -> None:
    assert (
        whoelse("document", "agreement", "dana@acme.example", "a.html", *VALUES, "-v", "law=<script>x</script>").code
        == 0
    )
    assert "<script>" not in (project / "a.html").read_text(encoding="utf-8")


PAPERS = """
name: Papers
kind: touch
to: client
needs: {reward: text}
steps:
  - {id: first, email: hello, attach: [paper]}
"""
PAPER = "---\nsubject: 'Terms: {{ client.name }} / 50 %'\n---\n# Terms\n\n{{ client.name }} gets **{{ reward }}**.\n"


def test_a_document_is_attached_as_it_is_filled_in_at_that_moment(new_office: Callable[..., Office]) -> None:
    there = new_office(
        books=office.library({"papers": PAPERS}, {"paper": PAPER, "paper.de": PAPER.replace("Terms", "Regeln")})
    )
    there.enroll(DANA, "papers", reward="a bottle of <wine>")
    (sent,) = there.work()
    (paper,) = email.message_from_bytes(sent.raw, policy=email.policy.default).iter_attachments()  # type: ignore[attr-defined]
    assert paper.get_content_type() == "text/html" and paper.get_filename() == "Terms Dana Whitfield 50.html"
    page = paper.get_content()
    assert "<strong>a bottle of &lt;wine&gt;</strong>" in page.replace(' style=""', "") and "@page" in page


def test_nobody_is_enrolled_whose_document_cannot_be_filled_in(new_office: Callable[..., Office]) -> None:
    books = office.library({"papers": PAPERS}, {"paper": PAPER.replace("reward", "rewrad")})
    there = new_office(books=books)
    refused = enroll(there.inst, Wish(LEE, "papers", {"reward": "x"}, office.SAM, contact={"name": "Lee"}), MONDAY)
    assert isinstance(refused, list) and isinstance(refused[0], Refusal) and "rewrad" in refused[0].reason


def test_check_finds_a_document_that_is_not_there_or_asks_for_what_nobody_gives(
    project: Path, whoelse: Whoelse
) -> None:
    (project / "sequences/papers.yaml").write_text(
        PAPERS.replace("hello", "triage").replace("[paper]", "[agreement, agrement]")
    )
    said = whoelse("check").out
    assert (
        'attaches the document "agrement", for which there is no template' in said
        and 'did you mean "agreement"?' in said
    )
    assert 'there is no variable "payout_term"' in said


def test_a_file_has_a_suffix_and_a_document_has_none() -> None:
    assert [is_document(name) for name in ("agreement", "papers/agreement", "a.pdf", "v1.2/agreement")] == [
        True,
        True,
        False,
        True,
    ]
