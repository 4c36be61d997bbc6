"""Mail as the clients and machines of the world write it, from words alone: each draws its own quotes, footers, headers and HTML.

The words and labels stand in `tests/mail/texts*.toml`; what differs between an answer from Gmail in Danish and one from Outlook in Polish is
drawn here, so that one page of sentences tries every way of quoting."""

from __future__ import annotations

import base64
from email.charset import Charset
from email.header import Header
from email.utils import formataddr, getaddresses
from html import escape
from typing import Any

REP = "Kim Larsen <kim@brightfield.example>"
ASKED = {
    "review": (
        "Did we keep our promise?",
        "when we started you asked for three things:\n\n- month-end close in five days instead of nine\n- one view of all open orders\n"
        "- no more spreadsheets by email\n\nDid we keep that promise? If so, reply YES to confirm. A plain no is fine too.",
    ),
    "ask": (
        "One question",
        "who else do you know with the problem that we solved for you? A name and a company, or an address like pat@firm.example, "
        "is plenty. If the answer is no, say so and I will stop asking.",
    ),
    "intro": (
        "Introduction to Barry Jones at Acme",
        "could you introduce me to Barry Jones at Acme (barry@acme.example)? Two lines are enough. If you would rather not, a no is fine.",
    ),
}
FOOT = 'Kim\n--\nKim Larsen, Brightfield\nRather not get mails like this? Reply "unsubscribe".'
GMAIL = {
    "en": "On Mon, Mar 2, 2026 at 9:00\u202fAM {who} wrote:",
    "de": "Am Mo., 2. März 2026 um 09:00 Uhr schrieb {who}:",
    "fr": "Le lun. 2 mars 2026 à 09:00, {who} a écrit\xa0:",
    "es": "El lun, 2 mar 2026 a las 9:00, {who} escribió:",
    "it": "Il giorno lun 2 mar 2026 alle ore 09:00 {who} ha scritto:",
    "nl": "Op ma 2 mrt 2026 om 09:00 schreef {who}:",
    "pt": "{who} escreveu (segunda, 2/03/2026 à(s) 09:00):",
    "pl": "pon., 2 mar 2026 o 09:00 {who} napisał(a):",
    "sv": "Den mån 2 mars 2026 kl 09:00 skrev {who}:",
    "da": "Den man. 2. mar. 2026 kl. 09.00 skrev {who}:",
    "fi": "ma 2. maalisk. 2026 klo 9.00 {who} kirjoitti:",
    "cs": "po 2. 3. 2026 v 9:00 odesílatel {who} napsal:",
    "ja": "2026年3月2日(月) 9:00 {who}:",
    "zh": "{who} 于2026年3月2日周一 09:00写道：",
}
APPLE = {
    "en": ("Sent from my iPhone", "On 2 Mar 2026, at 09:00, {who} wrote:"),
    "de": ("Von meinem iPhone gesendet", "Am 02.03.2026 um 09:00 schrieb {who}:"),
    "fr": ("Envoyé de mon iPhone", "Le 2 mars 2026 à 09:00, {who} a écrit :"),
    "es": ("Enviado desde mi iPhone", "El 2 mar 2026, a las 9:00, {who} escribió:"),
    "it": ("Inviato da iPhone", "Il giorno 2 mar 2026, alle ore 09:00, {who} ha scritto:"),
    "nl": ("Verstuurd vanaf mijn iPhone", "Op 2 mrt 2026 om 09:00 heeft {who} het volgende geschreven:"),
    "pt": ("Enviado do meu iPhone", "No dia 2 de mar. de 2026, às 09:00, {who} escreveu:"),
    "pl": ("Wysłane z iPhone’a", "Wiadomość napisana przez {who} w dniu 02.03.2026, o godz. 09:00:"),
    "sv": ("Skickat från min iPhone", "2 mars 2026 kl. 09:00 skrev {who}:"),
    "da": ("Sendt fra min iPhone", "Den 2. mar. 2026 kl. 09.00 skrev {who}:"),
    "fi": ("Lähetetty iPhonesta", "{who} kirjoitti 2.3.2026 kello 9.00:"),
    "cs": ("Odesláno z iPhonu", "2. 3. 2026 v 9:00, {who}:"),
    "ja": ("iPhoneから送信", "2026/03/02 9:00、{who}のメール："),
    "zh": ("发自我的iPhone", "在 2026年3月2日，09:00，{who} 写道："),
}
THUNDERBIRD = {
    "en": "On 02/03/2026 09:00, Kim Larsen wrote:",
    "de": "Am 02.03.26 um 09:00 schrieb Kim Larsen:",
    "pl": "W dniu 2.03.2026 o 09:00, Kim Larsen pisze:",
}
YAHOO = {
    "en": "On Monday, March 2, 2026 at 09:00:00 AM GMT, {who} wrote:",
    "zh": "在 2026年3月2日星期一 09:00:00 [GMT+8]， {who} 写道：",
}
OUTLOOK = {
    "en": ("From", "Sent", "To", "Subject", "Monday, March 2, 2026 9:00 AM"),
    "de": ("Von", "Gesendet", "An", "Betreff", "Montag, 2. März 2026 09:00"),
    "fr": ("De", "Envoyé", "À", "Objet", "lundi 2 mars 2026 09:00"),
    "es": ("De", "Enviado el", "Para", "Asunto", "lunes, 2 de marzo de 2026 9:00"),
    "it": ("Da", "Inviato", "A", "Oggetto", "lunedì 2 marzo 2026 09:00"),
    "nl": ("Van", "Verzonden", "Aan", "Onderwerp", "maandag 2 maart 2026 09:00"),
    "pt": ("De", "Enviado", "Para", "Assunto", "2 de março de 2026 09:00"),
    "pl": ("Od", "Wysłano", "Do", "Temat", "poniedziałek, 2 marca 2026 09:00"),
    "sv": ("Från", "Skickat", "Till", "Ämne", "den 2 mars 2026 09:00"),
    "da": ("Fra", "Sendt", "Til", "Emne", "2. marts 2026 09:00"),
    "fi": ("Lähettäjä", "Lähetetty", "Vastaanottaja", "Aihe", "maanantai 2. maaliskuuta 2026 9.00"),
    "cs": ("Od", "Odesláno", "Komu", "Předmět", "pondělí 2. března 2026 9:00"),
    "ja": ("差出人", "送信日時", "宛先", "件名", "2026年3月2日 9:00"),
    "zh": ("发件人", "发送时间", "收件人", "主题", "2026年3月2日 9:00"),
}
SUBJECTS = {
    "en": "Automatic reply: ",
    "de": "Automatische Antwort: ",
    "fr": "Réponse automatique : ",
    "es": "Respuesta automática: ",
    "it": "Risposta automatica: ",
    "nl": "Automatisch antwoord: ",
    "pt": "Resposta automática: ",
    "pl": "Odpowiedź automatyczna: ",
    "sv": "Autosvar: ",
    "da": "Automatisk svar: ",
    "fi": "Automaattinen vastaus: ",
    "cs": "Automatická odpověď: ",
    "ja": "自動応答: ",
    "zh": "自动答复: ",
}


def answer(what: dict[str, Any]) -> bytes:
    """A person's message: `event`, `lang`, `client`, `asked`, `from`, `words`; `sign`, `to`, `cc`, `subject`, `place`, `charset`, `date`."""
    new = what["asked"] == "new"
    subject = what.get("subject") or "Re: " + ASKED[what["asked"]][0]
    quoted = "" if new else f"Hi,\n\n{ASKED[what['asked']][1]}\n\n{FOOT}"
    words = what["words"] + (f"\n\n{what['sign']}" if what.get("sign") and what["client"] != "thunderbird" else "")
    forms = {
        "gmail": _gmail,
        "outlook": _outlook,
        "iphone": _iphone,
        "thunderbird": _thunderbird,
        "yahoo": _yahoo,
        "none": _none,
    }
    headers, plain, html = forms[what["client"]](what, words, quoted, subject)
    if not new:
        headers |= {"In-Reply-To": "<o1@brightfield.example>", "References": "<o1@brightfield.example>"}
    date = what.get("date", "Tue, 03 Mar 2026 10:00:00 +0000")
    return _mail(what, subject, date, headers, plain, html)


def machine(what: dict[str, Any]) -> bytes:
    """A machine's answer: `client` is exchange, gmail, sieve, notes, zendesk, jira, challenge, or bare (which says nothing in its headers)."""
    asked = ASKED["ask"][0]
    subject = what.get("subject") or (SUBJECTS[what["lang"]] if what["client"] == "exchange" else "Re: ") + asked
    kinds = {
        "exchange": {
            "X-Auto-Response-Suppress": "All",
            "auto-submitted": "auto-generated",
            "In-Reply-To": "<o1@brightfield.example>",
        },
        "gmail": {"Precedence": "bulk", "X-Autoreply": "yes", "Auto-Submitted": "auto-replied"},
        "sieve": {
            "Auto-Submitted": "auto-replied (vacation)",
            "In-Reply-To": "<o1@brightfield.example>",
            "Precedence": "bulk",
        },
        "notes": {"X-Mailer": "Lotus Domino Release 9.0.1", "In-Reply-To": "<o1@brightfield.example>"},
        "zendesk": {"Auto-Submitted": "auto-generated", "X-Mailer": "Zendesk Mailer"},
        "jira": {"Auto-Submitted": "auto-generated", "X-JIRA-FingerPrint": "ab12", "Precedence": "bulk"},
        "challenge": {"In-Reply-To": "<o1@brightfield.example>", "Auto-Submitted": "auto-replied"},
        "bare": {},
    }
    headers = dict(kinds[what["client"]])
    html = _page(what["words"]) if what["client"] in ("exchange", "zendesk") else ""
    return _mail(what, subject, what["date"], headers, what["words"], html)


def _page(words: str) -> str:
    paragraphs = "".join(f"<p class=MsoNormal>{escape(line) or '&nbsp;'}</p>" for line in words.split("\n"))
    return f"<html><head><style>p {{margin:0}}</style></head><body><div class=WordSection1>{paragraphs}</div></body></html>"


def _lines(words: str) -> str:
    return "".join(f"<div>{escape(line) or '<br>'}</div>" for line in words.split("\n"))


def _marked(quoted: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in quoted.split("\n"))


_Drawn = tuple[dict[str, str], str, str]


def _gmail(what: dict[str, Any], words: str, quoted: str, subject: str) -> _Drawn:
    if not quoted:
        return {}, words, f'<div dir="ltr">{_lines(words)}</div>'
    line = GMAIL[what["lang"]].format(who=REP)
    html = (
        f'<div dir="ltr">{_lines(words)}</div><br><div class="gmail_quote gmail_quote_container"><div dir="ltr" class="gmail_attr">'
        f'{escape(line)}<br></div><blockquote class="gmail_quote" style="margin:0 0 0 .8ex">{_lines(quoted)}</blockquote></div>'
    )
    return {}, f"{words}\n\n{line}\n\n{_marked(quoted)}", html


def _outlook(what: dict[str, Any], words: str, quoted: str, subject: str) -> _Drawn:
    if not quoted:
        return {"X-MS-Has-Attach": ""}, words, _page(words)
    whose, when, to, about, day = OUTLOOK[what["lang"]]
    rows = [(whose, REP), (when, day), (to, what["from"]), (about, subject.removeprefix("Re: "))]
    plain = "\n".join(f"{name}: {value}" for name, value in rows)
    block = "<br>".join(f"<b>{escape(name)}:</b> {escape(value)}" for name, value in rows)
    html = (
        f'{_page(words).removesuffix("</body></html>")}<div style="border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm 0cm">'
        f"<p class=MsoNormal>{block}</p></div>{_page(quoted)}</body></html>"
    )
    return {"X-MS-Has-Attach": "", "Thread-Topic": "x"}, f"{words}\n\n{plain}\n\n{quoted}", html


def _iphone(what: dict[str, Any], words: str, quoted: str, subject: str) -> _Drawn:
    footer, line = APPLE[what["lang"]]
    below = f"\n\n> {line.format(who=REP)}\n> \n{_marked(quoted)}" if quoted else ""
    return {"X-Mailer": "iPhone Mail (22G99)", "Mime-Version": "1.0 (1.0)"}, f"{words}\n\n{footer}{below}", ""


def _thunderbird(what: dict[str, Any], words: str, quoted: str, subject: str) -> _Drawn:
    agent = {"User-Agent": "Mozilla Thunderbird"}
    if not quoted:
        return agent, words, ""
    line = THUNDERBIRD[what["lang"]]
    marked = _marked(quoted)
    sign = f"\n\n-- \n{what['sign']}" if what.get("sign") else ""
    if what.get("place") == "below":
        return agent, f"{line}\n{marked}\n\n{words}{sign}", ""
    if what.get("place") == "inline":
        head, _, tail = marked.partition(" If the answer")
        return agent, f"{line}\n{head}\n\n{words}\n\n> If the answer{tail}{sign}", ""
    return agent, f"{words}{sign}\n\n{line}\n{marked}", ""


def _yahoo(what: dict[str, Any], words: str, quoted: str, subject: str) -> _Drawn:
    mailer = {"X-Mailer": "WebService/1.1.24164 YMailNovation"}
    if not quoted:
        return mailer, words, f'<div class="yahoo-style-wrap">{_lines(words)}</div>'
    line = YAHOO[what["lang"]].format(who=REP)
    html = f'<div class="yahoo-style-wrap">{_lines(words)}</div><div class="yahoo_quoted"><div>{escape(line)}</div>{_lines(quoted)}</div>'
    indented = "\n".join(f"  {row}".rstrip() for row in quoted.split("\n"))
    return mailer, f" {words}\n\n    {line}  \n \n{indented}", html


def _none(what: dict[str, Any], words: str, quoted: str, subject: str) -> _Drawn:
    return {}, words, ""


def _mail(what: dict[str, Any], subject: str, date: str, headers: dict[str, str], plain: str, html: str) -> bytes:
    charset = what.get("charset", "utf-8")
    head = {
        "Return-Path": "<>" if what["client"] in ("exchange", "sieve") else f"<{getaddresses([what['from']])[0][1]}>",
        "From": _addresses(what["from"], charset),
        "To": _addresses(what.get("to", REP).replace(";", ","), charset),
        "Subject": Header(subject, _usable(subject, charset)).encode(),
        "Date": date,
        "Message-ID": "<a1@client.example>",
        "MIME-Version": "1.0",
    } | headers
    if what.get("cc"):
        head["Cc"] = _addresses(what["cc"].replace(";", ","), charset)
    lines = "".join(f"{name}: {value}\n" for name, value in head.items())
    if not html:
        return f"{lines}{_part('plain', plain, charset)}".encode()
    parts = f"--=_b\n{_part('plain', plain, charset)}\n--=_b\n{_part('html', html, charset)}\n--=_b--\n"
    return f'{lines}Content-Type: multipart/alternative; boundary="=_b"\n\n{parts}'.encode()


def _part(kind: str, text: str, charset: str) -> str:
    body = base64.encodebytes(text.encode(charset, "xmlcharrefreplace")).decode("ascii")
    return f'Content-Type: text/{kind}; charset="{charset}"\nContent-Transfer-Encoding: base64\n\n{body}'


def _usable(text: str, charset: str) -> Charset:
    try:
        text.encode(charset)
    except UnicodeEncodeError:
        return Charset("utf-8")
    return Charset(charset)


def _addresses(listed: str, charset: str) -> str:
    return ", ".join(
        f"{Header(name, _usable(name, charset)).encode()} <{address}>"
        if name and not name.isascii()
        else formataddr((name, address))
        for name, address in getaddresses([listed])
    )


def bounce(what: dict[str, str]) -> bytes:
    """A server's message that mail did not arrive: `label`, `from`, `subject`, `words`, `report` and `returned` as `bounces.toml` tells."""
    subject = Header(what["subject"], _usable(what["subject"], "us-ascii")).encode()
    head = (
        f"Return-Path: <>\nFrom: {what['from']}\nTo: kim@brightfield.example\nSubject: {subject}\n"
        "Date: Mon, 2 Mar 2026 09:05:00 +0000\nMessage-ID: <b1@mta.example>\nMIME-Version: 1.0\n"
    )
    words = what["words"].strip("\n")
    mine = ASKED["ask"]
    sent = (
        f"From: {REP}\nTo: <pat@client.example>\nSubject: {mine[0]}\nMessage-ID: <o1@brightfield.example>\n"
        "Date: Mon, 2 Mar 2026 09:00:00 +0000\nList-Unsubscribe: <mailto:kim@brightfield.example>\n"
    )
    returned = what.get("returned", "")
    if "report" not in what:
        notes = {
            "text": "\n------ This is a copy of the message, including all the headers. ------\n",
            "bare": "\n",
        }
        below = f"{notes[returned]}\n{sent}\n{mine[1]}\n\n{FOOT}\n" if returned else ""
        return f"{head}Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{words}\n{below}".encode()
    kinds = {"header": ("text/rfc822-headers", sent), "message": ("message/rfc822", f"{sent}\n{mine[1]}\n")}
    last = "--=_r\nContent-Type: {}\n\n{}\n".format(*kinds[returned]) if returned else ""
    return (
        f'{head}Content-Type: multipart/report; report-type=delivery-status; boundary="=_r"\n\n'
        f"--=_r\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{words}\n"
        f"--=_r\nContent-Type: message/delivery-status\n\n{what['report'].strip()}\n\n{last}--=_r--\n"
    ).encode()
