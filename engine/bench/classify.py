"""Reading a reply of 20 KB and saying what it means, against Python's own parser reading it (policy `default`)."""

from __future__ import annotations

from collections.abc import Iterator
from email.parser import BytesParser
from email.policy import default
from itertools import cycle

from engine.bench.harness import Ground, Row, compare_in_slices
from engine.core.model import Event, Reader
from engine.reading import open_here

SIZE_BYTES = 20_000
ANSWER = (
    "Hi Sam,\r\n\r\nthanks, but we would rather not introduce anybody now (no. {n}).\r\n\r\nBest regards,\r\nDana\r\n"
)
QUOTED = "> I wondered whether you had a chance to send Barry that note. Here it is again: {n}-{line}.\r\n"
HEAD = """\
Return-Path: <dana@client.example>
Delivered-To: rep0@bench.example
Received: from mx.client.example ([192.0.2.7]) by mx.bench.example with ESMTPS id 4F2; Mon, 2 Mar 2026 09:30:01 +0100
Received: from [10.0.0.5] by mx.client.example with ESMTPSA id 9a1; Mon, 2 Mar 2026 09:30:00 +0100
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=client.example; s=k1; h=from:to:subject:date; bh=abc=; b=def=
From: Dana Whitfield <dana@client.example>
To: Sam Carter <rep0@bench.example>
Subject: Re: An introduction, if you are willing
Date: Mon, 2 Mar 2026 09:30:00 +0100
Message-ID: <answer.1@client.example>
In-Reply-To: <abcdefghijklmnopqrstuvwxyz@bench.example>
References: <abcdefghijklmnopqrstuvwxyz@bench.example>
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="=_1"

"""


def reply(n: int) -> bytes:
    """As a mail program writes it: plain text and HTML, each with the whole conversation quoted below. No two are alike."""
    lines = (SIZE_BYTES - len(HEAD) - 2 * len(ANSWER) - 500) // (2 * len(QUOTED))
    attribution = "\r\nOn Mon, 2 Mar 2026 at 09:00, Sam Carter <rep0@bench.example> wrote:\r\n"
    answer, quoted = ANSWER.format(n=n), [QUOTED.format(n=n, line=line) for line in range(lines)]
    text = answer + attribution + "".join(quoted)
    paragraphs = "".join(f"<p>{line}</p>" for line in answer.split("\r\n") if line)
    quote = "".join(f"<p>{line[2:].strip()}</p>\r\n" for line in quoted)
    html = f'<div>{paragraphs}</div><div class="gmail_quote">{attribution}<blockquote>{quote}</blockquote></div>'
    parts = "".join(
        f'--=_1\r\nContent-Type: text/{kind}; charset="utf-8"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{content}\r\n'
        for kind, content in (("plain", text), ("html", html))
    )
    return (HEAD.replace("\n", "\r\n") + parts + "--=_1--\r\n").encode()


def measure(ground: Ground) -> Iterator[Row]:
    different = ground.pick(2, 200)
    replies = [reply(n) for n in range(different)]
    ours, theirs = cycle(replies), cycle(replies)
    reader = Reader(frozenset({"rep0@bench.example"}))

    def read() -> None:
        with open_here(next(ours)) as opened:
            assert opened.classify(reader).event is Event.DECLINED

    def parse() -> None:
        assert BytesParser(policy=default).parsebytes(next(theirs))["Message-ID"] == "<answer.1@client.example>"

    note = f"a reply of {len(replies[0]):,} bytes, no two alike"
    yield compare_in_slices("classify", 1.0, read, parse, slices=different, times=1, pairs=ground.pairs, note=note)
