"""Many people at once, from whatever a spreadsheet saves: read, tried, enrolled row by row, refused with line and reason, fed again."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from office import DANA, KIM, SAM
from test_cli import REVIEW, Ran, Whoelse, inst, project, whoelse  # noqa: F401

from engine import enrollments
from engine.config import load_config
from engine.errors import UserError
from engine.importing import TOGETHER
from engine.project import open_store
from engine.sheets import csv_text, guarded, read_sheet, unguarded
from engine.store import Store

HEAD = "email,name,company,prospect.name,prospect.email\n"
ROWS = (
    "dana@acme.example,Dana Whitfield,Acme,Barry Jones,barry@northwind.example\n"
    "lee@harbour.example,Lee Moran,Harbour,Sue Okoro,sue@pier.example\n"
)
Feed = Callable[..., Ran]


@pytest.fixture
def feed(project: Path, whoelse: Whoelse) -> Feed:  # noqa: F811
    """Writes a table and feeds it into the 1-1-1 follow-up."""

    def run(content: str | bytes, *words: str, name: str = "people.csv", sequence: str = "follow_up_1_1_1") -> Ran:
        (project / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return whoelse("enroll", "--csv", name, sequence, *words)

    return run


@pytest.fixture
def store(project: Path) -> Store:  # noqa: F811
    return open_store(load_config(project / "config.yaml", {}))


# --- what becomes of rows --------------------------------------------------------------------------------------------


def test_every_row_is_enrolled_with_its_own_variables(feed: Feed, store: Store) -> None:
    ran = feed(HEAD + ROWS)
    assert ran.code == 0, ran.err
    assert ran.out == "2 rows: 2 enrolled, 0 refused.\n"
    dana, lee = store.all_enrollments()
    assert dana.variables["prospect"] == {
        "name": "Barry Jones", "email": "barry@northwind.example", "company": "", "title": "", "first_name": "Barry",
    }  # fmt: skip
    contact = store.contact(lee.contact)
    assert contact and (contact.name, contact.company) == ("Lee Moran", "Harbour")


def test_a_table_that_is_fed_again_doubles_nobody(feed: Feed, store: Store, whoelse: Whoelse) -> None:  # noqa: F811
    feed(HEAD + ROWS)
    before = store.all_enrollments()
    ran = feed(HEAD + ROWS + ROWS)
    assert ran.code == 0 and ran.out == "4 rows: 0 enrolled, 4 in it already or before, 0 refused.\n"
    whoelse("stop", "dana@acme.example")
    assert "2 in it already or before" in feed(HEAD + ROWS).out, "who has been through it is not sent into it again"
    assert [e.id for e in store.all_enrollments()] == [e.id for e in before]
    again = feed(HEAD + ROWS, "--again")
    assert again.out == "2 rows: 1 enrolled, 1 in it already or before, 0 refused.\n"


def test_an_import_that_was_cut_off_goes_on_where_it_was(feed: Feed, store: Store) -> None:
    feed(HEAD + ROWS.splitlines()[0])
    assert feed(HEAD + ROWS).out == "2 rows: 1 enrolled, 1 in it already or before, 0 refused.\n"
    assert len(store.all_enrollments()) == 2


def test_an_import_that_dies_has_enrolled_whole_rows(feed: Feed, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was under way is not kept, and nobody was told that it was."""
    rows, real, asked = _many(25), enrollments.enroll, itertools.count(1)

    def enroll(*given: Any) -> Any:
        if next(asked) == TOGETHER + 5:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as killed:
        killed.setattr(enrollments, "enroll", enroll)
        assert feed(HEAD + rows).code != 0
    kept = store.all_enrollments()
    assert len(kept) == TOGETHER and all(e.step and e.due_at for e in kept)
    again = feed(HEAD + rows)
    assert again.out == f"25 rows: {25 - TOGETHER} enrolled, {TOGETHER} in it already or before, 0 refused.\n"


def test_one_that_is_refused_among_many_undoes_none_and_doubles_none(feed: Feed, store: Store) -> None:
    """Rows are committed together; where one of them cannot be, each is for itself."""
    lines = _many(12).splitlines(keepends=True)
    ran = feed(HEAD + "".join([*lines[:5], lines[2], "nobody,No Body,Acme,Barry,barry@n.example\n", *lines[5:]]))
    assert "14 rows: 12 enrolled, 1 in it already or before, 1 refused." in ran.out
    assert len(store.all_enrollments()) == 12
    for contact in store.contacts():
        told = [line.text for line in store.story(contact.id)]
        assert len(told) == len(set(told)) > 0


def _many(rows: int) -> str:
    return "".join(
        f"dana@acme{n}.example,Dana Whitfield,Acme {n},Barry {n},barry@north{n}.example\n" for n in range(rows)
    )


def test_a_refused_row_leaves_nothing_and_holds_up_no_other(feed: Feed, store: Store) -> None:
    ran = feed(HEAD + "nobody,No Body,Acme,Barry,barry@n.example\n" + ROWS + "max@acme.example,Max May,Acme,,\n")
    assert ran.code == 1
    assert ran.out.splitlines()[0].startswith("line 2  nobody            refused: 'nobody' is no valid address")
    assert "line 5  max@acme.example  refused: follow_up_1_1_1 needs prospect" in ran.out
    assert "4 rows: 2 enrolled, 2 refused." in ran.out
    assert {c.email for c in store.contacts()} == {"dana@acme.example", "lee@harbour.example"}


def test_the_file_of_refused_rows_can_be_mended_and_fed_again(feed: Feed, project: Path, store: Store) -> None:  # noqa: F811
    ran = feed(HEAD + ROWS + 'max@acme,"Max ""M"" May",=Acme,Barry,barry@n.example\n')
    file = project / "people.refused.csv"
    assert f"{file.name}: mend them there" in ran.out
    (row,) = csv.DictReader(file.open(encoding="utf-8-sig"))
    assert (row["line"], row["name"], row["company"]) == ("4", 'Max "M" May', "'=Acme")
    assert "'max@acme' is no valid address" in row["reason"]
    mended = feed(file.read_text(encoding="utf-8-sig").replace("max@acme,", "max@acme.example,"), name=file.name)
    assert mended.out == "1 row: 1 enrolled, 0 refused.\n"
    contact = store.contact_at("max@acme.example")
    assert contact and contact.company == "=Acme", "what was guarded for the spreadsheet comes back as it was"


def test_a_file_that_somebody_mends_is_never_replaced(feed: Feed, project: Path) -> None:  # noqa: F811
    for _ in range(2):
        feed(HEAD + "nobody,,,,\n")
    feed((project / "people.refused.csv").read_text(), name="people.refused.csv")
    assert sorted(f.name for f in project.glob("people.refused*")) == [
        "people.refused.2.csv", "people.refused.3.csv", "people.refused.csv",
    ]  # fmt: skip


def test_the_rules_hold_for_a_table_too(feed: Feed) -> None:
    ran = feed("email,name,problem\nmax@acme.example,Max May,late tenders\n", sequence="ask")
    assert ran.code == 1 and "has not confirmed the value" in ran.out


# --- a dry run -------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_each_row_will_do_and_does_nothing(feed: Feed, project: Path, store: Store) -> None:  # noqa: F811
    ran = feed(HEAD + ROWS + ROWS.splitlines()[0] + "\nnobody,,,,\n", "--dry-run")
    lines = ran.out.splitlines()
    assert lines[0].startswith("line 2  dana@acme.example    enters it: day_1 on ")
    assert lines[2].startswith("line 4  dana@acme.example    is in it already"), "it sees what the rows before would do"
    assert "refused: 'nobody' is no valid address" in ran.out
    assert ran.out.endswith("Nobody was enrolled: this was a dry run.\n") and ran.code == 1
    assert store.contacts() == [] and not list(project.glob("*.refused*"))


def test_a_dry_run_and_the_import_say_the_same(feed: Feed, whoelse: Whoelse) -> None:  # noqa: F811
    whoelse("suppress", "lee@harbour.example")
    table = HEAD + ROWS + "max@acme.example,Max,Acme,Barry Jones,barry@northwind.example\nnobody,,,,\n"
    dry, real = (json.loads(feed(table, "--json", *words).out) for words in (["--dry-run"], []))
    told = lambda ran: [(r["line"], r["result"], r["reason"], r["step"]) for r in ran["results"]]
    assert told(dry) == told(real)
    assert [r[1] for r in told(real)] == ["enrolled", "refused", "enrolled", "refused"]
    assert (dry["refused_file"], dry["enrolled"]) == (None, 2)


# --- columns ---------------------------------------------------------------------------------------------------------


def test_columns_are_known_however_they_are_spelt(feed: Feed, store: Store) -> None:
    ran = feed(
        "E-Mail;First Name;Time zone;Prospect\n".replace("Time zone", "Zone")
        + "dana@acme.example;Dana;Asia/Tokyo;Barry Jones <b@n.example>\n"
    )
    assert ran.code == 0, ran.err
    contact = store.contact_at("dana@acme.example")
    assert contact and (contact.first_name, contact.zone) == ("Dana", "Asia/Tokyo")


def test_every_unknown_column_is_named_with_what_was_meant(feed: Feed, store: Store) -> None:
    ran = feed("email,compny,prospect.emial,shoe size\nd@a.example,x,y,z\n")
    assert ran.code == 1 and store.contacts() == []
    for said in ("'compny' means nothing", "did you mean company?", "did you mean prospect.email?", "'shoe size'"):
        assert said in ran.err
    assert "people.csv:1:2:" in ran.err
    assert feed(HEAD.strip() + ",shoe size\n" + ROWS.replace("\n", ",44\n"), "--ignore-columns").code == 0


def test_a_table_without_addresses_is_no_table_of_people(feed: Feed) -> None:
    assert "has no column email" in feed("name,company\nDana,Acme\n").err
    assert "has prospect and parts of it" in feed("email,prospect,prospect.name\nd@a.example,a,b\n").err
    assert "twice" in feed("email,email\na@b.example,c@d.example\n").err


def test_lists_stand_between_bars_or_semicolons_and_values_for_all_on_the_command_line(
    feed: Feed, store: Store
) -> None:
    table = "email,name,problems,results\nd@a.example,Dana,late tenders|slow closing; always,On time\n"
    ran = feed(table, "-v", "review_call=2099-03-12 10:00", "-v", "problem=late tenders", sequence="value_review")
    assert ran.code == 0, ran.out
    (made,) = store.all_enrollments()
    assert made.variables["problems"] == ["late tenders", "slow closing; always"]


def test_each_row_may_have_its_own_rep(feed: Feed, project: Path, store: Store) -> None:  # noqa: F811
    config = project / "config.yaml"
    config.write_text(config.read_text().replace("windows:\n", f"  - {{address: {KIM}, name: Kim Two}}\nwindows:\n", 1))
    feed(HEAD.strip() + ",rep\n" + ROWS.replace("\n", f",{KIM}\n", 1).rstrip("\n") + ",sam@consulting.example\n")
    assert {e.rep for e in store.all_enrollments()} == {KIM, "sam@consulting.example"}


def test_a_place_that_is_unknown_refuses_its_row(feed: Feed) -> None:
    ran = feed(HEAD.strip() + ",zone\n" + ROWS.replace("\n", ",Europe/Berlim\n"))
    assert ran.code == 1 and ran.out.count("Europe/Berlim") == 2 and "Europe/Berlin" in ran.out


# --- what spreadsheets save ------------------------------------------------------------------------------------------

PERSON = "dana@acme.example{0}Jürgen Weiß{0}Acme{0}Barry Jones{0}barry@northwind.example\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_encoding_and_delimiter_are_recognised(feed: Feed, store: Store, encoding: str, delimiter: str) -> None:
    ran = feed((HEAD.replace(",", delimiter) + PERSON.format(delimiter)).encode(encoding))
    assert ran.code == 0, ran.err
    contact = store.contact_at(DANA.replace(".test", ".example"))
    assert contact and contact.name == "Jürgen Weiß"
    assert ("Windows-1252" in ran.err) is (encoding == "cp1252")


def test_the_line_of_a_row_is_that_of_the_file(feed: Feed) -> None:
    """Behind a line for Excel, a cell of two lines, and blank lines."""
    table = "sep=;\r\n" + HEAD.replace(",", ";") + 'a@b.example;"A\r\nB";x;P;p@q.example\r\n\r\n\r\nnobody;;;;\r\n'
    assert "line 7  nobody" in feed(table).out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04 a workbook", "is a workbook"),
        (HEAD + 'a@b.example,"Dana,Acme,x,y\n' + ROWS, "people.csv:2: opens a quote that is never closed"),
        ("[1, 2]", "write a list of objects"),
        ("{not json}", "is no JSON"),
        (b"email\0name", "is no text"),
        ("", "has no column email"),
    ],
    ids=["workbook", "open quote", "list", "no json", "binary", "empty"],
)
def test_what_is_no_table_is_refused_with_a_remedy(feed: Feed, content: str | bytes, said: str) -> None:
    ran = feed(content)
    assert ran.code == 1 and said in ran.err


def test_a_row_with_too_many_cells_or_unreadable_ones_is_refused_by_itself(feed: Feed) -> None:
    ran = feed(
        (HEAD + ROWS).encode() + b"x@y.example,a,b,c,d@e.example,more\nz@y.example,Bj\x81rn\x07,b,c,d@e.example\n"
    )
    assert "line 4  x@y.example  refused: has more cells than the header" in ran.out
    assert "line 5  z@y.example  refused: name holds a letter that cannot be read" in ran.out
    assert "2 enrolled, 2 refused" in ran.out


def test_json_is_a_table_too(feed: Feed, store: Store, project: Path) -> None:  # noqa: F811
    rows = [
        {"email": "d@a.example", "name": "Dana", "prospect": {"name": "Barry", "email": "b@n.example"}},
        {"email": "nobody", "name": "No"},
    ]
    assert "item 2  nobody" in feed(json.dumps(rows), name="people.json").out
    assert json.loads((project / "people.refused.json").read_text())[0]["item"] == 2
    lines = feed("\n".join(map(json.dumps, rows[:1])) + "\n" + json.dumps({**rows[0], "email": "e@a.example"}))
    assert lines.code == 0 and "1 enrolled, 1 in it already" in lines.out


def test_nobody_at_all_is_enrolled_by_an_empty_table(feed: Feed) -> None:
    assert feed(HEAD + ",,,,\n\n").out == "0 rows: 0 enrolled, 0 refused.\n"


# --- cells that a spreadsheet would run ------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", "'=1", "''=1"])
def test_a_cell_that_would_run_is_guarded_and_comes_back(cell: str) -> None:
    assert guarded(cell) == "'" + cell
    assert unguarded(guarded(cell)) == cell


@pytest.mark.parametrize("cell", ["-12", "+4.5", "Dana", "", "'quoted'", 7, None])
def test_what_runs_nowhere_stays_as_it_is(cell: object) -> None:
    assert guarded(cell) == (cell if cell is not None else "")


def test_csv_text_guards_heads_and_cells_alike() -> None:
    assert csv_text(["=a", "b"], [{"=a": "@x", "b": ["1", "2"]}]) == "'=a,b\r\n'@x,1|2\r\n"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_sheet(tmp_path / "none.csv")


# --- many ------------------------------------------------------------------------------------------------------------


def test_a_few_hundred_rows_go_in(feed: Feed, store: Store) -> None:
    assert feed(HEAD + "".join(f"a{n}@b{n}.example,Ann {n},B{n},P {n},p{n}@c.example\n" for n in range(300))).code == 0
    assert len(store.all_enrollments()) == 300
    assert SAM not in {c.email for c in store.contacts()}
