"""Labelled messages: the classifier measured on a folder of them, and one kept as a test case of a project."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from labelled import OWN
from test_cli import YES, Whoelse, project, whoelse  # noqa: F401

NO = YES.replace("Yes, confirmed.", "No, thank you.")
REP = ("--rep", "sam@consulting.example")


@pytest.fixture
def sorted_mail(tmp_path: Path) -> Path:
    """Two messages in the folders of their events, and one in a wrong one."""
    for name, text in (("confirmed/yes.eml", YES), ("declined/no.eml", NO), ("declined/also.eml", YES)):
        file = tmp_path / "labelled" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    return tmp_path / "labelled"


def test_the_report_counts_what_is_there_and_what_was_given(sorted_mail: Path, whoelse: Whoelse) -> None:  # noqa: F811
    ran = whoelse("classify", "--report", str(sorted_mail), *REP)
    assert ran.code == 1, "something was read wrongly"
    assert re.search(r"a confirmed +1 +\. +1 +0\.500 +1\.000\n +b declined +1 +1 +2 +1\.000 +0\.500", ran.out)
    assert "3 messages, 2 read rightly." in ran.out
    assert "declined/also.eml: is declined, read as confirmed" in ran.out
    told = json.loads(whoelse("classify", "--report", str(sorted_mail), *REP, "--json").out)
    assert {"label": "declined", "given": "confirmed", "count": 1} in told["confusion"]
    assert told["classes"][1] == {
        "label": "declined", "there": 2, "given": 1, "right": 1, "precision": 1.0, "recall": 0.5,
    }  # fmt: skip


def test_a_folder_with_a_list_of_what_to_expect_is_read_by_it(whoelse: Whoelse) -> None:  # noqa: F811
    ran = whoelse("classify", "--report", str(OWN), "--rep", "kim@brightfield.example", "--json")
    told = json.loads(ran.out)
    assert told["messages"] == len(list(OWN.glob("*.eml"))) and {"confirmed", "bounced"} <= {
        c["label"] for c in told["classes"]
    }


def test_a_message_is_kept_as_a_test_case_with_what_it_means(project: Path, whoelse: Whoelse) -> None:  # noqa: F811
    (project / "answer.eml").write_bytes(YES.encode())
    ran = whoelse("classify", "answer.eml", "--save", "plain_yes")
    assert ran.code == 0 and "which means confirmed" in ran.err
    assert whoelse("classify", "answer.eml", "--save", "ironic_yes", "--event", "declined").code == 0
    assert (project / "mail/plain_yes.eml").read_bytes() == YES.encode()
    told = json.loads(whoelse("classify", "--report", "mail", "--json").out)
    assert [w["file"] for w in told["wrong"]] == ["ironic_yes.eml"] and told["messages"] == 2
    again = whoelse("classify", "answer.eml", "--save", "plain_yes")
    assert again.code == 1 and "is there already" in again.err
    assert (project / "mail/expected.toml").read_text().count("[") == 2


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("answer.eml", "--save", "../up"), "is no name for a test case", 1),
        (("answer.eml", "--save", "x", "--event", "yes"), "is labelled 'yes', which is no event", 1),
        (("answer.eml", "answer.eml", "--save", "x"), "name one FILE", 2),
        (("answer.eml", "--event", "reply"), "name one FILE and --save", 2),
        (("--report", "none"), "is no folder", 1),
        (("--report", "templates"), "is no event", 1),
        (("--report", "sequences"), "holds no labelled messages", 1),
        (("--report", "mail", "answer.eml"), "leave the rest out", 2),
        ((), "Missing argument 'FILE...'", 2),
    ],
)
def test_what_cannot_be_kept_or_measured_is_said(
    project: Path,  # noqa: F811
    whoelse: Whoelse,  # noqa: F811
    words: tuple[str, ...],
    said: str,
    code: int,
) -> None:
    (project / "answer.eml").write_bytes(YES.encode())
    ran = whoelse("classify", *words)
    assert ran.code == code and said in " ".join(ran.err.split())
    assert not (project / "mail/x.eml").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not toml", "cannot be read"),
        ('["a.eml"]\nevent = "reply"\n', "names a.eml, which is not there"),
        ('["a.eml"]\nevent = "replly"\n', "'replly', which is no event"),
        ('"a.eml" = 1\n', "is no event"),
    ],
)
def test_a_faulty_list_is_said_with_its_place(tmp_path: Path, whoelse: Whoelse, text: str, said: str) -> None:  # noqa: F811
    (tmp_path / "expected.toml").write_text(text)
    ran = whoelse("classify", "--report", str(tmp_path))
    assert ran.code == 1 and said in ran.err and "expected.toml" in ran.err
