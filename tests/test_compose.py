"""A letter, parsed back, is the letter; nothing breaks out of a header; ids cannot be guessed."""

from __future__ import annotations

import email
import email.policy
import re
from datetime import UTC, date, datetime
from email.header import decode_header
from email.message import EmailMessage, Message
from email.utils import getaddresses
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.compose import Letter, compose, mailto, message_id, own_id, reply_subject
from engine.core.model import Person
from engine.core.render import Templates

KEY = b"k" * 32
SAM, DANA = (
    Person(name="Sam Carter", email="sam@consulting.example"),
    Person(name="Dana Fox", email="dana@acme.example"),
)
NOON = datetime(2026, 3, 3, 12, 0, tzinfo=UTC)
LETTER: dict[str, Any] = {
    "sender": SAM,
    "recipient": DANA,
    "subject": "Barry and Acme",
    "text": "Hi Dana,\n\nBest,\nSam\n",
    "html": "<p>Hi Dana</p>\n",
    "message_id": message_id(KEY, "e1", "day_1", 1, 1, "consulting.example"),
    "date": NOON,
}
NAMES = [
    "Dana Fox",
    'J. R. "Bob" O\'Brien, Jr.',
    "back\\slash (comment) <x@y.example>",
    "Zoë Müller-Lüdenscheidt",
    "Ωρίων Παπαδόπουλος",
    "Иван Петрович Сидоров-Задунайский",
    "田中 太郎",
    "محمد بن سلمان",
    "דנה כהן",
    "ณัฐพล ศรีสุข",
    "김철수",
    "😀 Emoji 🎉",
    "=?utf-8?q?not_encoded?=",
    " edges and  double  spaces ",
    "an extraordinarily long name of somebody whose parents could not agree on which one to choose " * 3,
    "x" * 200,
]
SUBJECTS = [
    "Barry and Acme",
    "What we promised, and what came of it",
    "word " * 60 + "end",
    "Grüße aus Köln: wen kennen Sie noch?",
    "誰か他に知っていますか？" * 10,
    "кто ещё? " * 12 + "!",
    "😀" * 80,
    "=?utf-8?b?aGk=?=",
    "x" * 300,
    "two  spaces",
    "trailing ",
    "Re: Barry & Acme: 100 % <done>",
    "",
]


def letter(**changes: Any) -> Letter:
    return Letter(**{**LETTER, **changes})


def parsed(raw: bytes) -> EmailMessage:
    found = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    assert all(not part.defects for part in found.walk())
    return found


def texts(message: Message) -> list[str]:
    parts = [part for part in message.walk() if part.get_content_maintype() == "text" and not part.get_filename()]
    return [part.get_payload(decode=True).decode().replace("\r\n", "\n") for part in parts]


def decoded(text: str) -> str:
    """RFC 2047 §6.2, with the white space between two encoded words dropped (the modern parser keeps it in names)."""
    pieces = decode_header(text)
    return "".join(piece.decode(charset or "ascii") if isinstance(piece, bytes) else piece for piece, charset in pieces)


def is_well_formed(raw: bytes) -> bool:
    """RFC 5321 §4.5.3.1.6 and RFC 5322 §2.1: CRLF alone ends a line, none is longer than 998, headers are 7-bit."""
    lines = raw.split(b"\r\n")
    head = raw.partition(b"\r\n\r\n")[0]
    return not any(b"\r" in line or b"\n" in line or len(line) > 998 for line in lines) and head.isascii()


# --- parsed back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_names_in_any_script_are_read_back_as_they_were(name: str):
    raw = compose(
        letter(sender=Person(name, SAM.email), recipient=Person(name, DANA.email), cc=(Person(name, "c@d.example"),))
    )
    found = email.message_from_bytes(raw)
    assert is_well_formed(raw)
    for header, address in (("From", SAM.email), ("To", DANA.email), ("Cc", "c@d.example")):
        ((phrase, read),) = getaddresses([found[header].replace("\r\n", "")])
        assert (decoded(phrase), read) == (name, address)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_subjects_in_any_script_are_read_back_as_they_were(subject: str):
    raw = compose(letter(subject=subject))
    assert is_well_formed(raw)
    assert (parsed(raw)["Subject"] or "") == subject
    assert max(len(line) for line in raw.split(b"\r\n")) <= 101 or len(max(subject.split(" "), key=len)) > 60


@pytest.mark.parametrize(
    "text",
    [
        "plain\n",
        "no end",
        "",
        "trailing space \n\ttab\t\n",
        ".\n..\nFrom me\n",
        "=3D is not a sign =\n",
        "ü" * 500 + "\n",
        "long " * 400 + "\n",
        "x" * 5000 + "\n",
        "田中さん、\n\nこんにちは。\n" * 50,
        "--=_boundary\n--\n",
        "\r\nmixed\rline\r\nends\n",
        "😀" * 300,
    ],
)
def test_both_parts_are_read_back_as_they_were(text: str):
    raw = compose(letter(text=text, html=f"<p>{text}</p>"))
    whole = text.replace("\r\n", "\n").replace("\r", "\n")
    assert is_well_formed(raw)
    assert texts(parsed(raw)) == [whole, f"<p>{whole}</p>"]


@settings(max_examples=400, deadline=None)
@given(
    st.text(
        st.characters(
            blacklist_categories=["Cs", "Cc", "Zl", "Zp"],
            blacklist_characters="\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
        )
    ),
    st.text(st.characters(blacklist_categories=["Cs", "Cc"], whitelist_characters="\n\t")),
)
def test_whatever_is_written_is_read(subject: str, body: str):
    raw = compose(letter(subject=subject, text=body, html=body))
    assert is_well_formed(raw)
    found = parsed(raw)
    assert texts(found) == [body, body]
    assert decoded(email.message_from_bytes(raw)["Subject"].replace("\r\n", "") if subject else "") == subject


SAMPLE: dict[str, Any] = {
    "company": {"name": "Größe & Söhne", "domain": "acme.example"},
    "referral": {
        "state": "named",
        "client": {"name": "Dana", "first_name": "Dana"},
        "prospect": {"name": "Barry", "first_name": "Barry"},
    }
    | dict.fromkeys(["named_at", "introduced_at", "contacted_at", "met_at", "won_at", "lost_at"], NOON),
    "enrollment": {"sequence": "Ask", "begun_at": NOON, "step": "day_1"},
    "today": date(2026, 3, 3),
    "intro_link": mailto("barry@acme.example", "sam@consulting.example", "Barry, meet Sam", "Hi,\n\n50 % & more\n"),
    "unsubscribe": "mailto:sam@consulting.example?subject=unsubscribe%20x",
    "review_call": NOON,
    "review_link": "https://reviews.example/consulting",
}


@pytest.mark.io
@pytest.mark.parametrize("name", [name for name in NAMES if name == " ".join(name.split())])
def test_every_shipped_template_is_read_back_as_it_was_rendered(name: str):
    folder = Path(__file__).parent.parent / "templates"
    sources = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.md")}
    templates = Templates(sources)
    person = dict.fromkeys(("name", "first_name", "company", "title", "phone"), name) | {"email": "x@acme.example"}
    for source in sources:
        roots = {use.path.split(".")[0] for use in templates.uses(source)} - SAMPLE.keys()
        values = SAMPLE | dict.fromkeys(roots, name) | dict.fromkeys(["client", "prospect", "rep"], person)
        values |= {root: [name, name] for root in roots & {"results", "problems", "next_quarter"}}
        mail = templates.render(source, values, zone="Europe/Berlin")
        raw = compose(letter(subject=mail.subject, text=mail.text, html=mail.html))
        assert is_well_formed(raw)
        assert texts(parsed(raw)) == [mail.text, mail.html], source
        assert (parsed(raw)["Subject"] or "") == mail.subject, source


def test_the_headers_say_what_the_letter_says():
    full = letter(
        zone="America/New_York",
        references=("<a@b.example>", "<c@d.example>"),
        in_reply_to="<c@d.example>",
        unsubscribe="mailto:sam@consulting.example?subject=unsubscribe%20e1-abc",
        cc=(Person("Lee", "lee@acme.example"), Person(email="kim@acme.example")),
    )
    found = parsed(compose(full))
    assert found["Date"] == "Tue, 03 Mar 2026 07:00:00 -0500"
    assert found["Message-ID"] == full.message_id
    assert found["References"].split() == ["<a@b.example>", "<c@d.example>"]
    assert found["In-Reply-To"] == "<c@d.example>"
    assert found["List-Unsubscribe"] == f"<{full.unsubscribe}>"
    assert getaddresses([found["Cc"]]) == [("Lee", "lee@acme.example"), ("", "kim@acme.example")]
    assert found.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in found.iter_parts()] == ["text/plain", "text/html"]


def test_nothing_announces_a_machine_and_nothing_empty_is_written():
    found = parsed(compose(letter()))
    assert not {
        "Auto-Submitted",
        "Precedence",
        "X-Mailer",
        "Bcc",
        "Cc",
        "References",
        "In-Reply-To",
        "List-Unsubscribe",
    } & set(found.keys())


def test_the_same_letter_is_the_same_bytes_and_another_is_not():
    assert compose(letter()) == compose(letter())
    other = letter(message_id=message_id(KEY, "e1", "day_1", 1, 2, "consulting.example"))
    boundary = re.compile(rb'boundary="([^"]+)"')
    assert boundary.search(compose(letter()))[1] != boundary.search(compose(other))[1]


def test_a_long_thread_is_folded_and_whole():
    ids = tuple(f"<{number}.{'x' * 60}@mail.example>" for number in range(200))
    raw = compose(letter(references=ids))
    assert is_well_formed(raw)
    assert tuple(parsed(raw)["References"].split()) == ids


def test_an_odd_id_in_a_thread_is_left_out():
    odd = ("<a@b.example>", "<evil\r\nBcc: x@y.example>", "no brackets", "<two words@x>", "<ü@x.example>", "")
    found = parsed(compose(letter(references=odd, in_reply_to=odd[1])))
    assert found["References"] == "<a@b.example>"
    assert "In-Reply-To" not in found and "Bcc" not in found


def test_attachments_are_read_back_with_their_names():
    files = (("agreement.pdf", b"%PDF\x00\xff" * 999), ("Übersicht für Sie.xlsx", b"x"), ('odd"name\\.bin', b""))
    raw = compose(letter(attachments=files))
    found = parsed(raw)
    assert is_well_formed(raw)
    assert found.get_content_type() == "multipart/mixed"
    assert texts(found) == [LETTER["text"], LETTER["html"]]
    assert [(part.get_filename(), part.get_content()) for part in found.iter_attachments()] == list(files)
    assert [part.get_content_type() for part in found.iter_attachments()][::2] == [
        "application/pdf",
        "application/octet-stream",
    ]


def test_domains_are_written_as_dns_knows_them_and_local_parts_as_they_are():
    raw = compose(letter(recipient=Person("Jörg", "info@bücher.example"), cc=(Person(email="jörg@bücher.example"),)))
    assert b"<info@xn--bcher-kva.example>" in raw
    assert "Cc: jörg@xn--bcher-kva.example\r\n".encode() in raw  # RFC 6532: for servers with SMTPUTF8


# --- attacks -----------------------------------------------------------------------------------------------------------

CONTROLS = [
    "\r\nBcc: x@evil.example",
    "\nX: y",
    "\r",
    "\x00",
    "\x1b[2J",
    "\x7f",
    "\x85",
    "\u2028",
    "\u202eevil",
    "\u2066",
    "\ud800",
]


@pytest.mark.parametrize("control", CONTROLS)
def test_control_characters_are_refused_in_every_header(control: str):
    for changes in (
        {"subject": f"a{control}b"},
        {"sender": Person(f"a{control}b", SAM.email)},
        {"recipient": Person(f"a{control}b", DANA.email)},
        {"recipient": Person("a", f"a{control}b@acme.example")},
        {"cc": (Person("a", f"a@acme{control}.example"),)},
        {"message_id": f"<a{control}@b.example>"},
        {"unsubscribe": f"mailto:a@b.example{control}"},
        {"attachments": ((f"a{control}.pdf", b""),)},
    ):
        with pytest.raises(ValueError):
            compose(letter(**changes))


@pytest.mark.parametrize("control", ["\x00", "\x08", "\x1b", "\x7f", "\ud800"])
def test_control_characters_are_refused_in_the_body(control: str):
    for part in ("text", "html"):
        with pytest.raises(ValueError):
            compose(letter(**{part: f"a{control}b"}))


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "@x.example",
        "a@",
        "a@b@c.example",
        "a b@c.example",
        "a@b.example, x@y.example",
        "<a@b.example>",
        '"a b"@c.example',
    ],
)
def test_what_is_no_address_is_refused(address: str):
    with pytest.raises(ValueError):
        compose(letter(recipient=Person("Dana", address)))


# --- ids ---------------------------------------------------------------------------------------------------------------


def test_ids_are_functions_of_the_email_and_of_the_key():
    args = ("e1", "day_1", 1, 1, "consulting.example")
    assert message_id(KEY, *args) == message_id(KEY, *args)
    others = [
        message_id(b"another key", *args),
        own_id(KEY, *args),
        message_id(KEY, "e2", "day_1", 1, 1, "consulting.example"),
        message_id(KEY, "e1", "day_2", 1, 1, "consulting.example"),
        message_id(KEY, "e1", "day_1", 2, 1, "consulting.example"),
        message_id(KEY, "e1", "day_1", 1, 2, "consulting.example"),
        message_id(KEY, "e1d", "ay_1", 1, 1, "consulting.example"),
        message_id(KEY, "e1", "day_1", 11, 1, "consulting.example"),
        message_id(KEY, "e1", "day_1", 1, 11, "consulting.example"),
    ]
    assert len({message_id(KEY, *args), *others}) == len(others) + 1


def test_ids_look_like_any_other_and_hold_nothing_of_the_email():
    found = message_id(KEY, "enrollment-7", "day_1", 1, 1, "Bücher.example")
    assert re.fullmatch(r"<[a-z2-7]{32}@xn--bcher-kva\.example>", found)
    assert not any(part in found for part in ("enrollment", "day_1"))


# --- subjects and links --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "answer"),
    [
        ("Barry", "Re: Barry"),
        ("Re: Barry", "Re: Barry"),
        ("RE: re: Re: Barry", "Re: Barry"),
        ("AW: Barry", "Re: Barry"),
        ("Antw.: x", "Re: Antw.: x"),
        ("SV: VS: Barry", "Re: Barry"),
        ("Re[2]: Barry", "Re: Barry"),
        ("Re (3): Barry", "Re: Barry"),
        ("Re^2: Barry", "Re: Barry"),
        ("R: Barry", "Re: Barry"),
        ("RES: RIF: Odp: YNT: Barry", "Re: Barry"),
        ("回复：Barry", "Re: Barry"),
        ("  re :  Barry", "Re: Barry"),
        ("Fwd: Barry", "Re: Fwd: Barry"),
        ("Re: Fwd: Re: Barry", "Re: Fwd: Re: Barry"),
        ("Regarding: Barry", "Re: Regarding: Barry"),
        ("Reply: x", "Re: Reply: x"),
        ("Are: x", "Re: Are: x"),
        ("", "Re:"),
        ("Re:", "Re:"),
    ],
)
def test_an_answer_says_re_once(subject: str, answer: str):
    assert reply_subject(subject) == answer
    assert reply_subject(answer) == answer


@pytest.mark.parametrize(
    "body",
    [
        "Hi Barry,\n\nmeet Sam.\n",
        "a & b = c? #d + e % f; \"quotes\" 'too' <tag>",
        "Grüße, 田中 😀",
        "\r\nline\r\nends\n",
        "",
    ],
)
def test_a_mailto_link_is_read_back_as_it_was_filled_in(body: str):
    link = mailto("barry+x@acme.example", "sam@consulting.example", body, body)
    assert re.fullmatch(r"[!-~]+", link) and not re.search(r"[<>\"' ]", link)
    parts = urlsplit(link)
    assert (parts.scheme, unquote(parts.path)) == ("mailto", "barry+x@acme.example")
    fields = {name: values[0] for name, values in parse_qs(parts.query, strict_parsing=True).items()}
    lines = body.replace("\r\n", "\n").replace("\n", "\r\n")
    expected = {"cc": "sam@consulting.example", "subject": " ".join(body.split()), "body": lines}
    assert fields == {name: value for name, value in expected.items() if value}
    assert "+" not in link and "%0A" not in link.replace("%0D%0A", "")


def test_a_mailto_link_cannot_be_given_more_fields_by_an_address():
    link = mailto("a&bcc=x@evil.example", "c?d=e@f.example", "", "")
    assert link == "mailto:a%26bcc%3Dx@evil.example?cc=c%3Fd%3De@f.example"
