"""Who is known: from tables and address books as other programs write them, merged by rule, exported and taken back unchanged."""

from __future__ import annotations

# ruff: noqa: F811  (fixtures of other files)
import json
import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import vobject
from office import MONDAY
from test_cli import DANA, Ran, Whoelse, enrolled, inst, project, sends, whoelse  # noqa: F401

from engine import enrollments
from engine.contacts import meaning
from engine.core.model import Contact
from engine.installation import Installation
from engine.privacy import export, forget
from engine.triggers import Report, report
from engine.vcards import read_cards

LEE = "lee@harbour.example"
TABLE = (
    "email,aliases,name,company,language,zone,field.tier\n"
    f"{DANA},dana@home.example|d.whitfield@acme.example,Dana Whitfield,Acme,en,Europe/London,gold\n"
    f"{LEE},,Lee Moran,Harbour,,,\n"
)
CARDS = """BEGIN:VCARD
VERSION:4.0
FN:Dana Whitfield
N:Whitfield;Dana;;Dr.;
EMAIL;TYPE=home:dana@home.example
item1.EMAIL;PREF=1;TYPE=work:dana@acme.example
ORG:Acme\\, Ltd;Bids
TITLE:COO
LANG:en-GB
TZ:Europe/London
X-WHOELSE-CONTRACT-DATE:2026-09-01
NOTE:likes\\nsailing
END:VCARD
BEGIN:VCARD
VERSION:2.1
N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:M=C3=BCller;J=C3=BCrgen
FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:J=C3=BCrgen M=C3=
=BCller
EMAIL;INTERNET:juergen@werft.example
TZ:-05:00
END:VCARD
BEGIN:VCARD
VERSION:3.0
nonsense
END:VCARD
BEGIN:VCARD
VERSION:4.0
KIND:group
FN:All
EMAIL:all@acme.example
END:VCARD
"""
Bring = Callable[..., Ran]


@pytest.fixture
def bring(project: Path, whoelse: Whoelse) -> Bring:
    def run(content: str | bytes, *words: str, name: str = "people.csv") -> Ran:
        (project / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return whoelse("contacts", "import", name, *words)

    return run


def known(inst: Installation, email: str) -> Contact:
    found = inst.store.contact_at(email)
    assert found, email
    return found


# --- in --------------------------------------------------------------------------------------------------------------


def test_people_come_from_a_table_with_all_their_addresses_and_fields(bring: Bring, inst: Installation) -> None:
    ran = bring(TABLE)
    assert (ran.code, ran.out) == (0, "2 rows: 2 new, 0 refused.\n"), ran.err
    dana = known(inst, "D.Whitfield@acme.example")
    assert dana == known(inst, DANA) and dana.aliases == ("dana@home.example", "d.whitfield@acme.example")
    assert (dana.name, dana.zone, dict(dana.fields)) == ("Dana Whitfield", "Europe/London", {"tier": "gold"})
    assert dana.owner == "sam@consulting.example" and not inst.store.all_enrollments()


def test_a_table_that_is_fed_again_changes_nothing(bring: Bring, inst: Installation) -> None:
    bring(TABLE)
    lines = len(inst.store.story(known(inst, DANA).id))
    assert bring(TABLE + TABLE.partition("\n")[2]).out == "4 rows: 0 new, 4 unchanged, 0 refused.\n"
    assert len(inst.store.contacts()) == 2 and len(inst.store.story(known(inst, DANA).id)) == lines


def test_what_is_filled_in_replaces_and_what_is_empty_stays(bring: Bring, inst: Installation) -> None:
    bring(TABLE)
    ran = bring("email,title,company,field.seats\ndana@home.example,COO,,12\n")
    assert ran.out == "1 row: 0 new, 1 changed, 0 refused.\n"
    dana = known(inst, DANA)
    assert (dana.email, dana.title, dana.company) == (DANA, "COO", "Acme"), "an alias finds her, and stays an alias"
    assert dict(dana.fields) == {"tier": "gold", "seats": "12"}
    assert "changed: title COO, seats 12" in [line.text for line in inst.store.story(dana.id)]


def test_two_contacts_are_never_made_one(bring: Bring, inst: Installation) -> None:
    bring(TABLE)
    ran = bring(f"email,aliases,name\n{DANA},{LEE},Dana Moran\n")
    assert ran.code == 1 and "two contacts would become one" in ran.out
    assert known(inst, DANA).name == "Dana Whitfield" and known(inst, LEE).name == "Lee Moran"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("email\nnobody\n", "'nobody' is no valid address"),
        ("email,zone\na@x.example,Mars/Base\n", '"Mars/Base" is no time zone'),
        ("email,language\na@x.example,Deutsch!\n", "'Deutsch!' is no language; write it like de or en-GB"),
        ("email,owner\na@x.example,kim@x.example\n", "kim@x.example is no mailbox of the config; the owner is one of sam@"),
        ("email\nSAM@consulting.example\n", "sam@consulting.example is a rep's own address"),
        ('email,name\na@x.example,"Dana\nWhitfield"\n', "name holds a line break"),
        ("email,name\na@x.example,Dana\u202eX\n", "holds a control character"),
        ("email,name\na@x.example,Dana,Whitfield\n", "has more cells than the header"),
        ("email,name\n,Dana\n", "has no email"),
        ('[{"email": "a@x.example", "name": {"a": 1}}]', "name is no text"),
        ("email,field.tier\na@x.example," + "x" * 2001 + "\n", "tier has more than 2,000 characters"),
    ],
)  # fmt: skip
def test_a_row_that_is_wrong_says_why_and_keeps_nobody(bring: Bring, inst: Installation, row: str, said: str) -> None:
    ran = bring(row)
    assert ran.code == 1 and said in " ".join(ran.out.split()), ran.out
    assert not inst.store.contacts()


def test_the_refused_rows_are_mended_and_fed_again(bring: Bring, project: Path, inst: Installation) -> None:
    ran = bring(TABLE + "max@acme,,=Max,,,,\n")
    assert ran.code == 1 and "3 rows: 2 new, 1 refused." in ran.out
    file = project / "people.refused.csv"
    text = file.read_text(encoding="utf-8-sig")
    assert "'=Max" in text and ",4," in text
    assert bring(text.replace("max@acme,", "max@acme.example,"), name=file.name).out == "1 row: 1 new, 0 refused.\n"
    assert known(inst, "max@acme.example").name == "=Max"


def test_a_column_that_means_nothing_is_refused_with_a_hint(bring: Bring, inst: Installation) -> None:
    ran = bring("email,compnay,Shoe size\na@x.example,Acme,44\n")
    assert ran.code == 1 and not inst.store.contacts()
    assert "did you mean company?" in ran.err and "field.shoe_size makes it a field of your own" in ran.err
    assert bring("email,compnay\na@x.example,Acme\n", "--ignore-columns").code == 0
    assert "has no column email" in bring("name\nDana\n").err


def test_a_field_that_the_project_asks_for_needs_no_prefix(bring: Bring, inst: Installation) -> None:
    assert bring(f"email,Contract date\n{DANA},2026-09-01\n").code == 0, "triggers.yaml has client.contract_date"
    assert dict(known(inst, DANA).fields) == {"contract_date": "2026-09-01"}


@pytest.mark.parametrize(
    ("column", "holds"),
    [
        ("E-mail 1 - Value", "email"), ("E-mail 2 - Value", "aliases"), ("Organization Name", "company"),
        ("E-mail Address", "email"), ("First Name", "first_name"), ("Job Title", "title"), ("Nachname", "last_name"),
        ("Vorname", "first_name"), ("E-Mail-Adresse", "email"), ("Firma", "company"), ("field.Shoe size", "field.shoe_size"),
        ("field.name", ""), ("field.1", ""), ("Phone", ""),
    ],
)  # fmt: skip
def test_columns_are_known_by_the_names_that_address_books_give_them(column: str, holds: str) -> None:
    assert meaning(column, ()) == holds


def test_an_export_of_outlook_in_its_own_encoding_is_read(bring: Bring, inst: Installation) -> None:
    text = (
        "Vorname;Nachname;Firma;E-Mail-Adresse;E-Mail 2: Adresse\nJürgen;Müller;Werft;j@werft.example;jm@home.example\n"
    )
    ran = bring(text.encode("cp1252"))
    assert ran.code == 0 and "Read as Windows-1252" in ran.err
    contact = known(inst, "jm@home.example")
    assert (contact.name, contact.first_name, contact.company) == ("Jürgen Müller", "Jürgen", "Werft")


def test_an_address_book_of_cards_of_three_versions_is_read(bring: Bring, inst: Installation, project: Path) -> None:
    ran = bring(CARDS, name="book.vcf")
    assert ran.code == 1 and "4 rows: 2 new, 2 refused." in ran.out, ran.out
    assert "line 22" in ran.out and "is no vCard" in ran.out and "is the card of a group, of nobody" in ran.out
    dana, jurgen = known(inst, "dana@home.example"), known(inst, "juergen@werft.example")
    assert (dana.email, dana.first_name, dana.company) == (DANA, "", "Acme, Ltd"), "the preferred address is the first"
    assert (dana.language, dana.zone, dict(dana.fields)) == ("en-gb", "Europe/London", {"contract_date": "2026-09-01"})
    assert (jurgen.name, jurgen.zone) == ("Jürgen Müller", ""), "an offset is no zone"
    refused = project / "book.refused.vcf"
    assert "X-WHOELSE-REASON:is the card of a group" in refused.read_text()
    mended = (
        refused.read_text()
        .replace("\nnonsense\n", "\nFN:Max May\nEMAIL:max@acme.example\n")
        .replace("KIND:group\n", "")
    )
    again = bring(mended.replace("all@", "al@"), name=refused.name)
    assert again.out == "2 rows: 2 new, 0 refused.\n", again.out
    assert not known(inst, "max@acme.example").fields, "its reason is no field"


def test_a_dry_run_says_what_would_be_and_keeps_nothing(bring: Bring, inst: Installation, project: Path) -> None:
    bring(TABLE)
    forget(inst, LEE, MONDAY)
    table = "email,aliases,title\ndana@home.example,,COO\nmax@x.example,,\nm@x.example,max@x.example,\nnobody,,\n"
    ran = bring(table + f"{LEE},,\n", "--dry-run")
    assert ran.out.splitlines()[:3] == [
        "line 2  dana@home.example    changed: title COO",
        "line 3  max@x.example        new: owner sam@consulting.example",
        "line 4  m@x.example          changed: also m@x.example",
    ]
    assert "5 rows: 1 new, 2 changed, 2 refused." in ran.out and "was forgotten" in ran.out
    assert known(inst, DANA).title == "" and len(inst.store.contacts()) == 1
    assert not list(project.glob("*.refused*"))


# --- what stays final ------------------------------------------------------------------------------------------------


def test_who_was_forgotten_is_not_made_known_again_by_a_table_or_a_moment(bring: Bring, inst: Installation) -> None:
    bring(TABLE)
    forget(inst, DANA, MONDAY)
    assert "2 rows: 0 new, 1 unchanged, 1 refused." in bring(TABLE).out
    assert inst.store.contact_at(DANA) is None and inst.store.contact_at("dana@home.example") is None
    told = report(inst, Report("dana@home.example", "delivered", contact={"name": "Dana"}), MONDAY)
    assert "was forgotten" in str(told) and inst.store.contact_at("dana@home.example") is None


def test_an_import_takes_no_suppression_away(bring: Bring, inst: Installation, whoelse: Whoelse) -> None:
    inst.store.suppress(DANA, "unsubscribed", MONDAY)
    assert bring(TABLE).code == 0
    assert inst.store.suppressed(DANA)
    assert "suppressed (unsubscribed)" in whoelse("contacts", "list").out


def test_aliases_and_fields_are_exported_and_forgotten_with_the_person(bring: Bring, inst: Installation) -> None:
    bring(TABLE)
    told = export(inst.store, "dana@home.example")
    assert told["contact"]["fields"] == {"tier": "gold"} and "d.whitfield@acme.example" in told["addresses"]
    assert any("made known" in line["text"] for line in told["history"])
    forget(inst, "dana@home.example", MONDAY)
    for address in (DANA, "dana@home.example", "d.whitfield@acme.example"):
        suppression = inst.store.suppressed(address)
        assert inst.store.contact_at(address) is None and suppression and not suppression.address


# --- out -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["all.csv", "all.vcf", "all.json"])
def test_what_is_exported_comes_back_unchanged(
    bring: Bring,
    whoelse: Whoelse,
    project: Path,
    inst: Installation,
    name: str,
) -> None:
    bring(TABLE + 'eve@x.example,,"=HYPERLINK(""x"")",+Acme,,,"a;b, c\\d"\n')
    before = inst.store.contacts()
    assert whoelse("contacts", "export", name).out == f"3 contacts are in {name}.\n"
    file = project / name
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert bring(file.read_bytes(), name="back" + file.suffix).out == "3 rows: 0 new, 3 unchanged, 0 refused.\n"
    assert inst.store.contacts() == before
    assert "is there already" in whoelse("contacts", "export", name).err


def test_no_cell_of_an_export_runs_in_a_spreadsheet(bring: Bring, whoelse: Whoelse) -> None:
    names = ["=1+1", "+1", "-1+1", "@SUM(A1)", "\tx"]
    rows = [{"email": f"p{place}@x.example", "name": f"n{place}", "field.a": name} for place, name in enumerate(names)]
    assert bring(json.dumps(rows), name="p.json").code == 0
    lines = whoelse("contacts", "export").out.splitlines()[1:]
    cells = [line.rsplit(",", 1)[1] for line in lines]
    assert cells == ["'=1+1", "+1", "'-1+1", "'@SUM(A1)", "x"], "a number is a number, and cells are trimmed"


def test_the_cards_are_read_by_other_programs(bring: Bring, whoelse: Whoelse) -> None:
    bring(TABLE)
    first, second = vobject.readComponents(whoelse("contacts", "export", "--vcard").out)
    assert (first.fn.value, first.n.value.family, first.version.value) == ("Dana Whitfield", "Whitfield", "3.0")
    assert [e.value for e in first.contents["email"]] == [DANA, "dana@home.example", "d.whitfield@acme.example"]
    assert second.org.value == ["Harbour"]


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_a_contact_is_shown_listed_and_changed_by_hand(bring: Bring, whoelse: Whoelse, inst: Installation) -> None:
    bring(TABLE)
    ran = whoelse(
        "contacts", "set", DANA, "language=de", "tier=", "field.seats=12", "--remove-alias", "dana@home.example"
    )
    assert ran.code == 0, ran.err
    assert ran.out == f"{DANA}: language de, seats 12, no tier, no longer dana@home.example\n"
    dana = known(inst, DANA)
    assert (dana.language, dict(dana.fields), dana.aliases) == ("de", {"seats": "12"}, ("d.whitfield@acme.example",))
    assert inst.store.contact_at("dana@home.example") is None
    shown = whoelse("contacts", "show", DANA).out
    assert "also      d.whitfield@acme.example" in shown and "seats     12" in shown
    assert whoelse("contacts", "list", "harb").out.split() == ["Lee", "Moran", LEE, "Harbour"]
    (document,) = json.loads(whoelse("contacts", "list", "dana", "--json").out)
    assert document["fields"] == {"seats": "12"} and document["aliases"] == ["d.whitfield@acme.example"]


def test_what_nobody_knows_is_no_name_of_a_field(bring: Bring, whoelse: Whoelse, inst: Installation) -> None:
    bring(TABLE)
    assert 'did you mean "company"' in whoelse("contacts", "set", DANA, "compnay=X").err
    assert "changed by --email" in whoelse("contacts", "set", DANA, "email=x@y.example").err
    assert whoelse("contacts", "set", "no@body.example", "title=X").code == 1
    assert "is no alias" in whoelse("contacts", "set", DANA, "--remove-alias", LEE).err
    assert whoelse("contacts", "set", DANA, "title=X", "--email", LEE).code == 1
    assert known(inst, DANA).title == "", "all of it or nothing"


def test_emails_go_to_a_new_address_once_none_is_on_its_way(whoelse: Whoelse, inst: Installation) -> None:
    enrolled(inst, "intro_template", datetime.fromisoformat("2026-03-02T08:30:00+00:00"))
    id = known(inst, DANA).id
    sends(inst, MONDAY)
    ran = whoelse("contacts", "set", DANA, "--email", "dana@newjob.example")
    assert ran.code == 0 and "email dana@newjob.example" in ran.out, ran.err
    moved = known(inst, DANA)
    assert (moved.id, moved.email, moved.aliases) == (id, "dana@newjob.example", (DANA,))
    assert inst.store.colleagues("x@newjob.example") == [moved]


def test_an_opt_out_is_not_got_around_by_another_address(whoelse: Whoelse, inst: Installation) -> None:
    enrolled(inst)
    inst.store.suppress(DANA, "unsubscribed", MONDAY)
    ran = whoelse("contacts", "set", DANA, "--email", "dana@newjob.example")
    assert ran.code == 1 and "suppressed (unsubscribed)" in ran.err
    assert known(inst, DANA).aliases == ()


def test_an_email_on_its_way_keeps_the_address(whoelse: Whoelse, inst: Installation) -> None:
    enrolled(inst, "intro_template")
    enrollments.advance(inst, MONDAY)
    assert [m.state for m in inst.store.outbox_to(known(inst, DANA).id)] == ["queued"]
    ran = whoelse("contacts", "set", DANA, "--email", "dana@newjob.example")
    assert ran.code == 1 and "is on its way" in ran.err and known(inst, DANA).aliases == ()


# --- what sequences and templates do with it -------------------------------------------------------------------------

TIERS = """
name: Tiers
kind: touch
to: client
steps:
  - {id: one, if: client.tier is defined and client.tier == "gold", email: tiers/one}
  - {id: two, wait: 1 day, if: client.tier|default("") == "", email: tiers/one}
"""
WORDS = "---\nsubject: Hello\n---\nHello{% if client.tier is defined %} {{ client.tier }} client{% endif %}.\n"


@pytest.fixture
def tiers(project: Path) -> Path:
    (project / "sequences/tiers.yaml").write_text(TIERS)
    (project / "templates/tiers").mkdir()
    (project / "templates/tiers/one.md").write_text(WORDS)
    with (project / "sequences/triggers.yaml").open("a") as file:
        file.write("- {moment: upgraded, if: \"client.tier == 'gold'\", start: tiers}\n")
    return project


def test_a_field_of_ones_own_is_used_in_conditions_templates_and_triggers(
    tiers: Path,
    bring: Bring,
    whoelse: Whoelse,
    inst: Installation,
) -> None:
    assert whoelse("check").code == 0
    assert bring(f"email,name,tier\n{DANA},Dana,gold\n{LEE},Lee,\n").code == 0, "the project asks for it by name"
    assert "Hello gold client." in whoelse("preview", "tiers", DANA, "--step", "one").out
    assert "Hello." in whoelse("preview", "tiers", LEE, "--step", "two").out
    started = lambda email: json.loads(whoelse("moment", email, "upgraded", "--json").out)["started"]
    assert [s["sequence"] for s in started(DANA)] == ["tiers"] and started(LEE) == []


def test_a_condition_that_some_could_not_answer_is_refused_with_the_words_that_help(
    tiers: Path,
    whoelse: Whoelse,
) -> None:
    file = tiers / "sequences/tiers.yaml"
    file.write_text(file.read_text().replace("client.tier is defined and ", ""))
    ran = whoelse("check")
    assert ran.code == 1 and "ask first: client.tier is defined and …" in ran.out + ran.err


def test_a_contact_is_written_to_in_their_language_where_there_is_a_template(
    tiers: Path,
    bring: Bring,
    whoelse: Whoelse,
) -> None:
    bring(f"email,name,language\n{DANA},Dana,de-AT\n{LEE},Lee,fr\n")
    assert "Hello." in whoelse("preview", "tiers", DANA, "--step", "two").out, "there is none in German yet"
    german = tiers / "templates/tiers/one.de.md"
    german.write_text(WORDS.replace("Hello", "Guten Tag"))
    assert "Guten Tag." in whoelse("preview", "tiers", DANA, "--step", "two").out
    assert "Hello." in whoelse("preview", "tiers", LEE, "--step", "two").out
    german.write_text("---\nsubject: Hallo\n---\nHallo {{ client.nose }} {{ nothing }}\n")
    said = whoelse("check").out
    assert 'one.de.md:4:10: "client" has no "nose"' in said and 'there is no variable "nothing"' in said


# --- hostile ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["BEGIN:VCARD\n" * 50, "BEGIN:VCARD\nEMAIL:a@b\x00.example\nEND:VCARD\n", "BEGIN:VCARD\nN:;;\n",
    "BEGIN:VCARD\nVERSION:9\nADR:;;;\nEMAIL\nEND:VCARD\n", "BEGIN:VCARD\nEND:VCALENDAR\n"])  # fmt: skip
def test_odd_cards_are_refused_one_by_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.vcf").write_text(text)
    cards = read_cards(tmp_path / "odd.vcf")
    assert len(cards.rows) == text.count("BEGIN:VCARD")


def test_a_table_of_contacts_that_is_a_workbook_says_so(tmp_path: Path, bring: Bring) -> None:
    assert "is a workbook" in bring(b"PK\x03\x04rest").err
