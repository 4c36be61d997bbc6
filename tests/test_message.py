"""Bytes to values: whatever arrives is read or left out, never raised about; and what a person typed is told from what they quote."""

from __future__ import annotations

import random

import pytest

from engine.core.message import PARTS_MAX, TEXT_MAX, new_text, parse
from engine.core.quoting import cut, html_to_text


def mail(body: str | bytes, *headers: str) -> bytes:
    head = "\n".join(("From: Dana <dana@acme.example>", "To: rep@demo.example", *headers))
    return head.encode() + b"\n\n" + (body.encode() if isinstance(body, str) else body)


def test_headers_become_values() -> None:
    message = parse(
        b"From: =?utf-8?q?Doe=2C_J=C3=BCrgen?= <J.Doe@Acme.example>\r\nTo: a@x.example, B <b@y.example>\r\nCc: c@z.example\r\n"
        b"Message-ID: <1@acme.example>\r\nIn-Reply-To: <o-1@demo.example>\r\nReferences: <o-0@demo.example> <o-1@demo.example>\r\n"
        b"Date: Mon, 2 Mar 2026 09:30:00 +0100\r\nSubject: =?utf-8?b?w4Q=?=\r\n\r\nHello\r\n"
    )
    assert (message.sender.name, message.sender.email) == ("Doe, Jürgen", "j.doe@acme.example")
    assert [person.email for person in message.to] == ["a@x.example", "b@y.example"]
    assert message.cc[0].email == "c@z.example"
    assert message.message_id == "<1@acme.example>"
    assert message.references == ("<o-0@demo.example>", "<o-1@demo.example>")
    assert message.date is not None and message.date.isoformat() == "2026-03-02T08:30:00+00:00"
    assert (message.subject, message.text) == ("Ä", "Hello\n")


@pytest.mark.parametrize(
    ("charset", "encoded", "text"),
    [
        ("gb2312", "您好".encode("gb18030"), "您好"),
        ("iso-2022-jp", "高橋".encode("iso-2022-jp"), "高橋"),
        ("iso-8859-1", "“ä”".encode("cp1252"), "“ä”"),
        ("x-unknown", "häh".encode(), "häh"),
        ("us-ascii", "grün".encode("cp1252"), "grün"),
        ("punycode", b"plain", "plain"),
    ],
)
def test_text_is_read_in_the_charset_that_was_meant(charset: str, encoded: bytes, text: str) -> None:
    assert parse(mail(encoded, f"Content-Type: text/plain; charset={charset}")).text == text


def test_a_multipart_that_lost_its_boundary_is_still_taken_apart() -> None:
    message = parse(mail("--xyz\nContent-Type: text/plain\n\nyes\n--xyz--\n", "Content-Type: multipart/mixed"))
    assert message.text.strip() == "yes"


def test_attachments_are_no_text() -> None:
    raw = mail(
        "--b\nContent-Type: text/plain\n\nsee attached\n--b\nContent-Type: text/plain; name=a.txt\n"
        "Content-Disposition: attachment; filename=a.txt\n\nunsubscribe\n--b--\n",
        "Content-Type: multipart/mixed; boundary=b",
    )
    assert parse(raw).text.strip() == "see attached"


def test_limits_hold() -> None:
    many = mail("--b\n\nhi\n" * 5000, "Content-Type: multipart/mixed; boundary=b")
    assert len(parse(many).parts) <= PARTS_MAX
    assert len(parse(mail("a" * 5_000_000)).text) <= TEXT_MAX
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(3000))
    assert len(parse(nested).parts) <= PARTS_MAX


def test_no_bytes_raise() -> None:
    luck = random.Random(7)
    for size in (0, 1, 2, 10, 100, 5000):
        for _ in range(60):
            parse(bytes(luck.randrange(256) for _ in range(size)))


def test_html_quotes_become_quoted_lines() -> None:
    text = html_to_text(
        "<style>p{}</style><p>Yes &amp; no</p><blockquote type=cite><p>asked</p></blockquote><!-- x --><p>end</p>"
    )
    assert text.split("\n") == ["Yes & no", "> asked", "end"]


TOP = "Yes, all done.\n\nOn Mon, Mar 2, 2026 at 9:00 AM Kim <kim@x.example> wrote:\n\n> Did we? Reply no if not.\n"
BOTTOM = "On 3/2/26 9:00 AM, Kim wrote:\n> Did we? Reply no if not.\n\nYes, all done.\n"
INLINE = "On 3/2/26 9:00 AM, Kim wrote:\n> Did we?\n\nYes, all done.\n\n> Reply no if not.\n"
OUTLOOK = "Yes, all done.\n\nFrom: Kim <kim@x.example>\nSent: Monday, March 2, 2026 9:00 AM\nTo: Dana\nSubject: Did we?\n\nReply no if not.\n"
YAHOO = "Yes, all done.\n\n  On Monday, March 2, 2026 at 09:00:00 AM EST, Kim <kim@x.example> wrote:  \n \n Reply no if not.\n"
GERMAN = "Yes, all done.\n\nAm 02.03.2026 um 09:00 schrieb Kim <kim@x.example>:\n> Sonst nein.\n"
WRAPPED = "Yes, all done.\n\nLe lun. 2 mars 2026 à 09:00, Kim Larsen de la maison <\nkim@x.example> a écrit :\n\n> Sinon non.\n"
JAPANESE = "Yes, all done.\n\n2026年3月2日(月) 9:00 Kim <kim@x.example>:\n\n> no\n"
ORIGINAL = "Yes, all done.\n\n-----Ursprüngliche Nachricht-----\nVon: Kim\nGesendet: Montag\n\nSonst nein.\n"
MOBILE = "Yes, all done.\n\nSent from my iPhone\n\n> On Mar 2, 2026, at 9:00 AM, Kim <kim@x.example> wrote:\n> \n> no\n"
SIGNED = "Yes, all done.\n\nBest regards,\nDana\nAcme Ltd\nUnsubscribe here\n"
DASHES = "Yes, all done.\n\n-- \nDana\nNo, really.\n"
NAMED = "Yes, all done.\n\nDana Whitfield | Buyer\nNot interested? Unsubscribe\n"
DISCLAIMED = "Yes, all done.\n\nCONFIDENTIALITY NOTICE: no, unsubscribe, stop.\n"


@pytest.mark.parametrize(
    "body",
    [
        TOP,
        BOTTOM,
        INLINE,
        OUTLOOK,
        YAHOO,
        GERMAN,
        WRAPPED,
        JAPANESE,
        ORIGINAL,
        MOBILE,
        SIGNED,
        DASHES,
        NAMED,
        DISCLAIMED,
    ],
)
def test_new_text_is_what_was_typed(body: str) -> None:
    assert cut(body, "Dana Whitfield").text == "Yes, all done."


def test_new_text_of_a_message_without_a_text_part() -> None:
    html = '<div>Yes.</div><div id="divRplyFwdMsg"><b>From:</b> Kim</div><div>no</div>'
    assert new_text(parse(mail(html, "Content-Type: text/html"))) == "Yes."


def test_a_person_who_only_speaks_of_writing_is_not_cut() -> None:
    assert cut("On Monday I wrote to him: he said yes.\nCall me.").text.startswith("On Monday")


def test_what_was_quoted_is_kept_for_whoever_asks() -> None:
    assert "Reply no if not." in cut(TOP).quoted


def test_half_a_character_before_a_header_ends_is_no_error() -> None:
    raw = b"Content-Type: text/plain; charset=raw-unicode-escape\nno header \\udd9e \xff\n\nhi"
    assert "hi" in parse(raw).text
