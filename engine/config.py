"""The configuration: what ops wrote in config.yaml, read strictly and whole, every problem with its place and remedy. It holds
names of secrets, never secrets; an account that is not filled in yet is no problem until somebody wants to use it."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from engine.core.calendar import Calendar, Place, Window, parse_window, place_problem
from engine.core.duration import LENGTH, Duration, parse_duration
from engine.core.language import is_cron
from engine.core.problem import Problem, has_errors
from engine.core.shapes import (
    Key,
    Shape,
    Spot,
    choice,
    flag,
    list_of,
    mapping_of,
    mapping_schema,
    read_keys,
    text,
    wrong,
)
from engine.core.yaml_strict import decode, load
from engine.errors import UserError

STORE_VARIABLE = "WHOELSE_STORE"
PER_DAY_MAX = 2_000
FULL_READ_MINUTES_MAX = 10
DIGEST = "30 7 * * mon-fri"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

Security = Literal["starttls", "tls", "none"]
Sent = Literal["auto", "server", "append"]


@dataclass(frozen=True)
class Server:
    """Where one of a mailbox's two servers answers, and how the connection is made private."""

    host: str
    port: int
    security: Security


@dataclass(frozen=True)
class Provider:
    """What everybody at a mail provider shares. `sent`: whether it files sent mail by itself."""

    smtp: Server
    imap: Server
    sent: Sent


#: From the providers' own setup pages; who files sent mail by itself is what the reliability trials found.
PROVIDERS: Mapping[str, Provider] = {
    "gmail": Provider(Server("smtp.gmail.com", 465, "tls"), Server("imap.gmail.com", 993, "tls"), "server"),
    "microsoft365": Provider(
        Server("smtp.office365.com", 587, "starttls"), Server("outlook.office365.com", 993, "tls"), "server"
    ),
    "icloud": Provider(Server("smtp.mail.me.com", 587, "starttls"), Server("imap.mail.me.com", 993, "tls"), "append"),
    "zoho": Provider(Server("smtppro.zoho.com", 465, "tls"), Server("imappro.zoho.com", 993, "tls"), "server"),
    "fastmail": Provider(Server("smtp.fastmail.com", 465, "tls"), Server("imap.fastmail.com", 993, "tls"), "auto"),
}
_DOMAINS = {
    "gmail.com": "gmail",
    "googlemail.com": "gmail",
    "icloud.com": "icloud",
    "me.com": "icloud",
    "mac.com": "icloud",
    "fastmail.com": "fastmail",
}


@dataclass(frozen=True)
class Password:
    """Where a password is kept: the name of an environment variable, a file's path, or a keyring's service."""

    source: Literal["env", "file", "keyring"]
    name: str


@dataclass(frozen=True)
class Moments:
    """How other systems tell of moments: a folder that is watched (an empty path: none), and where the daemon listens (None:
    nowhere), under which token, and by which names it may be called beside its own."""

    folder: str = ""
    listen: tuple[str, int] | None = None
    token: Password | None = None
    hosts: tuple[str, ...] = ()
    beyond_loopback: bool = False


@dataclass(frozen=True)
class Webhook:
    """Where an alert is posted, and where the secret is kept that signs it."""

    url: str
    secret: Password


@dataclass(frozen=True)
class Alerts:
    """How a rep is told at once that somebody was introduced: by an email to themselves, a program, an address."""

    email: bool = True
    command: tuple[str, ...] = field(default=(), repr=False)
    webhook: Webhook | None = None


@dataclass(frozen=True)
class Company:
    """The reps' own company. `domains` are lower case."""

    name: str = ""
    domains: tuple[str, ...] = ()
    zone: str = "UTC"
    country: str = ""
    subdivision: str = ""


@dataclass(frozen=True)
class Mailbox:
    """One rep and the mailbox that they send from. Addresses are lower case; `gap` is the least and the greatest number of
    seconds between two sends; `digest` is the cron schedule of its digest in the rep's zone, empty where there is none;
    `variables` stand in for needs that an enrollment does not bring."""

    address: str
    name: str
    first_name: str = ""
    title: str = ""
    phone: str = ""
    company: str = ""
    zone: str = ""
    country: str = ""
    subdivision: str = ""
    aliases: tuple[str, ...] = ()
    smtp: Server | None = None
    imap: Server | None = None
    user: str = ""
    password: Password | None = None
    token_command: tuple[str, ...] = field(default=(), repr=False)
    cafile: str = ""
    per_day: int = 25
    gap: tuple[int, int] = (120, 300)
    sent: Sent = "auto"
    digest: str | None = None
    alert: Alerts = field(default=None)  # type: ignore[assignment]  # _at_home gives everybody one
    variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def addresses(self) -> frozenset[str]:
        """Every address under which this rep writes and is written to."""
        return frozenset({self.address, *self.aliases})

    @property
    def values(self) -> dict[str, str]:
        """The rep as templates see them; what is unknown is an empty text."""
        return {
            "name": self.name,
            "first_name": self.first_name,
            "email": self.address,
            "company": self.company,
            "title": self.title,
            "phone": self.phone,
        }

    def server(self, kind: Literal["smtp", "imap"]) -> Server:
        """The server to send by or to read from. Raises UserError while the config does not name it."""
        server = self.smtp if kind == "smtp" else self.imap
        if server is None:
            remedy = f"add `{kind}: {{host: …, port: …, security: tls}}` or `provider:` to it in the config"
            raise UserError(f"{self.address} has no {kind} server yet", remedy=remedy)
        return server


@dataclass(frozen=True)
class Config:
    """One installation's configuration. `store` is a file's path or a postgresql:// URL, which may hold a password and is
    kept out of every repr; `folder` is where config.yaml, sequences/ and templates/ are."""

    folder: Path
    store: str = field(repr=False)
    secret: Path
    company: Company
    mailboxes: tuple[Mailbox, ...]
    calendar: Calendar
    late_after: Duration
    rest: Duration
    frequency_cap: Duration
    company_cap: Duration
    ask_every: Duration
    conversation: Duration
    keep_bodies: Duration
    full_read: Duration
    apply: Literal["automatic", "manual"]
    log_format: Literal["text", "json"]
    moments: Moments = Moments()

    def mailbox(self, address: str) -> Mailbox | None:
        """The mailbox of an address or of one of its aliases."""
        return self._by_address.get(address.lower())

    @cached_property
    def _by_address(self) -> dict[str, Mailbox]:
        return {address: mailbox for mailbox in reversed(self.mailboxes) for address in mailbox.addresses}

    def place(self, mailbox: Mailbox) -> Place:
        """Where a rep is: their own zone and country, else the company's. A subdivision goes with its country."""
        if mailbox.country:
            return Place(mailbox.zone or self.company.zone, mailbox.country, mailbox.subdivision)
        subdivision = mailbox.subdivision or self.company.subdivision
        return Place(mailbox.zone or self.company.zone, self.company.country, subdivision)


# --- shapes ------------------------------------------------------------------------------------------------------------


def _checked(takes: str, convert: Callable[[Any], Any], schema: Mapping[str, Any], hint: str = "") -> Shape[Any]:
    """A value that `convert` understands; where it raises ValueError, that is the sentence if it has one."""

    def read(spot: Spot) -> Any:
        try:
            return convert(spot.value)
        except ValueError as error:
            said, _, remedy = str(error).partition("; ")
            if said:
                spot.report("type", said, remedy)
            else:
                wrong(spot, takes, hint)
            return None

    return Shape(read, schema)


def _number(least: int, most: int) -> Shape[int]:
    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError
        return value

    return _checked(f"a number from {least} to {most}", convert, {"type": "integer", "minimum": least, "maximum": most})


def _duration(key: str) -> Shape[Duration]:
    convert = lambda value: parse_duration(str(value), f"has for {key}")
    return _checked("", convert, {"type": "string", "pattern": f"^(?:{LENGTH})$"})


def _gap(value: Any) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,5})(?: ?- ?([0-9]{1,5}))? (seconds?|minutes?)", str(value))
    if not found:
        raise ValueError
    unit = 60 if found[3].startswith("minute") else 1
    least, most = int(found[1]) * unit, int(found[2] or found[1]) * unit
    if least > most:
        raise ValueError
    return least, most


def _zone(value: Any) -> str:
    problem = place_problem(Place(str(value)))
    if problem or not isinstance(value, str):
        raise ValueError(f"has a zone that is unknown: {problem}" if problem else "")
    return value


def _address(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[^@\s<>()\[\],;:\"\\]+@[^@\s<>()\[\],;:\"\\]+", value):
        raise ValueError
    return value.lower()


def _store(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    if "://" not in value:
        return value
    if not value.startswith(("postgresql://", "postgres://")):
        raise ValueError("has a store of an unknown kind; write a file name, or postgresql://user@host/database")
    if urlsplit(value).password is not None or "password=" in value:
        raise ValueError(f"has a password in its store; leave it out and set PGPASSWORD, or set {STORE_VARIABLE}")
    return value


def _command(value: Any) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(value)) if isinstance(value, str) else ()
    except ValueError:
        raise ValueError("has a token_command with a quote that is not closed; close it") from None
    if not words:
        raise ValueError
    return words


def _listen(value: Any) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})", str(value))
    if not found or not 0 < int(found[3]) < 65536:
        raise ValueError
    return found[1] or found[2], int(found[3])


def _digest(value: Any) -> str:
    if value in ("off", False):
        return ""
    if not is_cron(value):
        raise ValueError
    return str(value)


def _webhook_url(value: Any) -> str:
    parts = urlsplit(value if isinstance(value, str) else "")
    if parts.scheme == "http" and parts.hostname in LOOPBACK:
        return str(value)
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise ValueError
    return str(value)


def _blackout_day(value: Any) -> date:
    with contextlib.suppress(ValueError):
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            return date.fromisoformat(value)
    raise ValueError  # without a word: the shape says what it takes, and 2026-02-30 is none


def _read_password(spot: Spot) -> Password | None:
    """Nothing here quotes the value: it may be the password itself."""
    kinds = ("env", "file", "keyring")
    if isinstance(spot.value, dict) and len(spot.value) == 1 and next(iter(spot.value)) in kinds:
        source, name = next(iter(spot.value.items()))
        if isinstance(name, str) and name.strip():
            return Password(source, name)
    hint = "write {env: NAME}, {file: PATH} or {keyring: SERVICE}"
    spot.report("secret", "has a password that is no name of a place where it is kept", hint)
    return None


def _record(keys: Mapping[str, Key], build: Callable[..., Any], schema: Mapping[str, Any] | None = None) -> Shape[Any]:
    """A mapping as a value; None when anything in it is wrong."""

    def read(spot: Spot) -> Any:
        before = len(spot.problems)
        found = read_keys(spot, keys)
        return None if has_errors(spot.problems[before:]) else build(**found)

    return Shape(read, schema or mapping_schema(keys))


_address_shape = _checked("an address", _address, {"type": "string", "format": "email"}, "like rep@company.example")
_zone_shape = _checked("the name of a zone", _zone, {"type": "string"}, "like Europe/Berlin")
_country = text("a country in two letters", "[A-Za-z]{2}", "like DE")
_password_schema: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
    "properties": {name: {"type": "string", "minLength": 1} for name in ("env", "file", "keyring")},
}
_window = _checked("a window", parse_window, {"anyOf": [{"const": "always"}, {"type": "object"}]})


def _read_window(spot: Spot) -> Window | None:
    return _window.read(replace(spot, who=f'window "{spot.loc[-1]}"'))


_windows = mapping_of(
    Shape(_read_window, _window.schema),
    "windows by their names",
    text("a name in small letters", "[a-z][a-z0-9_]*"),
)
_blackout = mapping_of(
    text("the day's name"),
    "dates with their names",
    _checked("a date", _blackout_day, {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"}, "like 2026-12-24"),
    at_least=0,
)

_digest_shape = _checked(
    "off or a cron schedule",
    _digest,
    {"type": ["string", "boolean"]},
    'minute hour day month weekday, like "30 7 * * mon-fri"',
)
_command_shape = _checked("a program with its arguments", _command, {"type": "string", "minLength": 1})
_WEBHOOK = {
    "url": Key(
        _checked(
            "an https address",
            _webhook_url,
            {"type": "string", "format": "uri"},
            "http is allowed to this machine only",
        ),
        "where it is posted",
        required=True,
    ),
    "secret": Key(Shape(_read_password, _password_schema), "where the secret is kept that signs it", required=True),
}
ALERT_KEYS = {
    "email": Key(flag, "an email to the rep themselves"),
    "command": Key(_command_shape, "a program that gets the facts as JSON on its standard input; no shell runs it"),
    "webhook": Key(_record(_WEBHOOK, Webhook), "an address to which the facts are posted as JSON, signed"),
}
_alerts = _record(ALERT_KEYS, Alerts)

_SERVER = {
    "host": Key(text("a host name", r"[A-Za-z0-9._:-]+"), "the server's name", required=True),
    "port": Key(_number(1, 65535), "587 or 465 for SMTP, 993 or 143 for IMAP", required=True),
    "security": Key(choice("starttls", "tls", "none"), "none is allowed to this machine only", required=True),
}
_server = _record(_SERVER, Server)

COMPANY_KEYS = {
    "name": Key(text(), "as templates name it: {{ rep.company }}"),
    "domains": Key(
        list_of(text("a domain", r"[^@\s]+\.[^@\s]+"), empty=True), "its mail domains: colleagues, not clients"
    ),
    "zone": Key(_zone_shape, "the zone of reps and schedules that name none"),
    "country": Key(_country, "whose holidays are kept"),
    "subdivision": Key(text(), "the part of the country, where holidays differ"),
}
MOMENTS_KEYS = {
    "folder": Key(text("a folder"), "a folder whose tables the daemon takes in"),
    "listen": Key(
        _checked("an address and a port", _listen, {"type": "string"}, "like 127.0.0.1:8025"),
        "where the daemon listens for other systems",
    ),
    "token": Key(Shape(_read_password, _password_schema), "where the token is kept that they show"),
    "hosts": Key(
        list_of(text("a host name", r"[A-Za-z0-9.-]+"), empty=True), "names by which they may call it, beside its own"
    ),
    "beyond_loopback": Key(flag, "whether it may listen to other machines; put TLS in front of it"),
}
MAILBOX_KEYS = {
    "address": Key(_address_shape, "the rep's address", required=True),
    "name": Key(text(), "the rep's name as recipients see it", required=True),
    "first_name": Key(text(), "if it is not the first word of the name"),
    "title": Key(text(), "in the signature"),
    "phone": Key(text(), "in the signature"),
    "zone": Key(_zone_shape, "if it is not the company's"),
    "country": Key(_country, "if it is not the company's"),
    "subdivision": Key(text(), "if it is not the company's"),
    "aliases": Key(list_of(_address_shape, empty=True), "the rep's other addresses"),
    "provider": Key(choice(*PROVIDERS), "fills in smtp, imap and sent"),
    "smtp": Key(_server, "the server to send by"),
    "imap": Key(_server, "the server to read from"),
    "user": Key(text(), "the login, if it is not the address"),
    "password": Key(Shape(_read_password, _password_schema), "where the password is kept"),
    "token_command": Key(
        _checked("a program with its arguments", _command, {"type": "string", "minLength": 1}),
        "a program that prints an access token (XOAUTH2), in place of a password",
    ),
    "cafile": Key(text("a file"), "certificates to trust, for a server with an authority of its own"),
    "per_day": Key(_number(1, PER_DAY_MAX), "the most emails a day"),
    "gap": Key(
        _checked("a span of time", _gap, {"type": "string"}, "like 120-300 seconds"), "the pause between two emails"
    ),
    "digest": Key(_digest_shape, "when the rep's digest comes, in their zone, if it is not the company's; off"),
    "alert": Key(_alerts, "how the rep is told of an introduction, if it is not the company's way"),
    "sent": Key(choice("auto", "server", "append"), "who files a copy in Sent: the server, or we; auto finds out"),
    "variables": Key(
        Shape(
            lambda spot: spot.value if isinstance(spot.value, dict) else wrong(spot, "variables"), {"type": "object"}
        ),
        "values for needs that an enrollment does not bring",
    ),
}


def _mailbox(spot: Spot) -> Mailbox | None:
    address = spot.value.get("address") if isinstance(spot.value, dict) else None
    named = replace(
        spot, who=f'mailbox "{address}"' if isinstance(address, str) else f"mailbox {int(spot.loc[-1]) + 1}"
    )
    if isinstance(spot.value, dict) and {"password", "token_command"} <= spot.value.keys():
        named.report("secret", "has both a password and a token_command", "leave one out", at="token_command")
    made: Mailbox | None = _record(MAILBOX_KEYS, _filled_mailbox).read(named)
    return made


def _filled_mailbox(provider: str = "", **found: Any) -> Mailbox:
    """The mailbox with what its provider, its name and its address tell."""
    known = PROVIDERS.get(provider or _DOMAINS.get(found["address"].rpartition("@")[2], ""))
    preset = {"smtp": known.smtp, "imap": known.imap, "sent": known.sent} if known else {}
    first_name = found["name"].split()[0]
    return Mailbox(**{"user": found["address"], "first_name": first_name, **preset, **found})


KEYS = {
    "store": Key(
        _checked("a file or a postgresql:// URL", _store, {"type": "string", "minLength": 1}),
        "the database: a file beside this one, or postgresql://user@host/database",
    ),
    "secret": Key(text("a file"), "the installation's key (or the environment's WHOELSE_SECRET)"),
    "company": Key(_record(COMPANY_KEYS, Company), "your own company"),
    "mailboxes": Key(list_of(Shape(_mailbox, mapping_schema(MAILBOX_KEYS))), "the reps", required=True),
    "windows": Key(_windows, "when emails may leave, by name"),
    "holidays": Key(flag, "whether public holidays are kept"),
    "blackout": Key(_blackout, "your own days off"),
    "late_after": Key(_duration("late_after"), "how late a step may be before `late:` decides"),
    "rest": Key(_duration("rest"), "how long somebody who declined is left alone (`after: rest`)"),
    "frequency_cap": Key(_duration("frequency_cap"), "the least time between emails of unrelated sequences"),
    "company_cap": Key(_duration("company_cap"), "the same between two people at one company"),
    "ask_every": Key(_duration("ask_every"), "one ask per client company in this time"),
    "conversation": Key(_duration("conversation"), "how long a conversation counts as alive"),
    "keep_bodies": Key(_duration("keep_bodies"), "how long the texts of answers are kept"),
    "digest": Key(_digest_shape, "when the digest of each rep comes, in their zone (cron); off"),
    "alert": Key(
        _alerts, "how a rep is told at once that somebody was introduced to them, and ops that a mailbox fails"
    ),
    "apply": Key(choice("automatic", "manual"), "whether the daemon takes up valid edits by itself"),
    "full_read": Key(_duration("full_read"), "how often a mailbox is read whatever it announces"),
    "log_format": Key(choice("text", "json"), "how the daemon's log lines look"),
    "moments": Key(_record(MOMENTS_KEYS, Moments), "how other systems tell of moments"),
}
_DURATIONS = {
    "late_after": "3 days",
    "rest": "90 days",
    "frequency_cap": "3 days",
    "company_cap": "1 day",
    "ask_every": "90 days",
    "conversation": "2 business days",
    "keep_bodies": "180 days",
    "full_read": "10 minutes",
}
BUSINESS_HOURS = {"days": "mon-fri", "from": "09:00", "to": "17:00"}


def config_schema() -> dict[str, Any]:
    """The JSON Schema of config.yaml, for editors."""
    return mapping_schema(KEYS, title="whoelse configuration")


# --- reading -----------------------------------------------------------------------------------------------------------


def load_config(path: Path, environ: Mapping[str, str], thorough: bool = False) -> Config:
    """The configuration in a file. `thorough` also looks up countries, which costs a tenth of a second.

    The environment's WHOELSE_STORE beats `store`. Raises UserError (exit code 2) with all problems at once, or when there is
    no file to read."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        remedy = "`whoelse init` makes one, --config or WHOELSE_CONFIG names one"
        raise UserError(f"no config can be read: {error.strerror}", str(path), remedy, exit_code=2) from None
    source, problems = decode(str(path), raw)
    config = None if problems else parse_config(path, source, environ, problems, thorough)
    if config is None or has_errors(problems):
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise UserError(f"the config has {count}", str(path), exit_code=2, problems=problems)
    return config


def parse_config(
    path: Path, source: str, environ: Mapping[str, str], problems: list[Problem], thorough: bool = False
) -> Config | None:
    """The configuration in a text, problems added to the list; None when it cannot be made."""
    data, positions, found = load(str(path), source)
    problems += found
    if data is None and found:
        return None
    spot = Spot(str(path), {} if data is None else data, positions, problems, "the config")
    values = read_keys(spot, KEYS)
    if not has_errors(problems):
        _compare(spot, values)
        _look_up(spot, values) if thorough else None
    return None if has_errors(problems) else _made(path.parent, values, environ)


def _compare(spot: Spot, values: Mapping[str, Any]) -> None:
    """What only shows across keys: an address that two mailboxes have, a read that comes too seldom."""
    seen: dict[str, str] = {}
    for index, mailbox in enumerate(values["mailboxes"]):
        for address in sorted(mailbox.addresses):
            if address in seen:
                here = spot.child("mailboxes").child(index, f'mailbox "{mailbox.address}"')
                here.report("duplicate", f"has {address}, which is {seen[address]}'s", "give each address once")
            seen.setdefault(address, mailbox.address)
    if values.get("moments"):
        _compare_moments(spot.child("moments", "moments"), values["moments"])
    full_read = values.get("full_read")
    if full_read and (full_read.minutes == 0 or full_read.minutes > FULL_READ_MINUTES_MAX):
        hint = f"write 1 minute to {FULL_READ_MINUTES_MAX} minutes"
        spot.child("full_read").report("full-read", f'reads mailboxes every "{full_read.text}"', hint)


def _compare_moments(spot: Spot, moments: Moments) -> None:
    if moments.listen is None:
        return
    from engine.account import is_loopback  # with ssl, which few commands need

    if moments.token is None:
        spot.report("secret", "listens without a token", "add token: {env: NAME}", at="listen")
    if not moments.beyond_loopback and not is_loopback(moments.listen[0]):
        hint = "write 127.0.0.1, or add beyond_loopback: true and put TLS in front of it"
        spot.report("listen", f"would listen beyond this machine, on {moments.listen[0]}", hint, at="listen")


def _look_up(spot: Spot, values: Mapping[str, Any]) -> None:
    company: Company = values.get("company", Company())
    places = [(spot.child("company", "the company"), company)] if company.country else []
    many = spot.child("mailboxes")
    places += [(many.child(index, f'mailbox "{m.address}"'), m) for index, m in enumerate(values["mailboxes"])]
    for where, who in places:
        country = who.country or (company.country if who.subdivision else "")
        problem = place_problem(Place(who.zone or company.zone, country, who.subdivision))
        said, _, remedy = problem.partition("; ")
        if said:
            where.report("place", f"has a place that is unknown: {said}", remedy)


def _made(folder: Path, values: dict[str, Any], environ: Mapping[str, str]) -> Config:
    company = values.get("company", Company())
    lengths = {name: values.get(name) or parse_duration(default) for name, default in _DURATIONS.items()}
    windows: dict[str, Window] = values.get("windows", {})
    named = {name: replace(window, name=name) for name, window in windows.items()}
    blackouts = {date.fromisoformat(day): name for day, name in values.get("blackout", {}).items()}
    return Config(
        folder=folder,
        store=environ.get(STORE_VARIABLE) or _beside(folder, values.get("store", "whoelse.db")),
        secret=folder / values.get("secret", "secret.key"),
        company=replace(company, domains=tuple(domain.lower() for domain in company.domains)),
        mailboxes=tuple(_at_home(mailbox, company, folder, values) for mailbox in values["mailboxes"]),
        calendar=Calendar(
            {"business_hours": parse_window(BUSINESS_HOURS, "business_hours"), **named},
            blackouts,
            values.get("holidays", True),
        ),
        apply=values.get("apply", "automatic"),
        log_format=values.get("log_format", "text"),
        moments=_beside_moments(values.get("moments", Moments()), folder),
        **lengths,
    )


def _beside_moments(moments: Moments, folder: Path) -> Moments:
    return replace(
        moments,
        folder=_beside(folder, moments.folder) if moments.folder else "",
        token=_password_beside(moments.token, folder),
    )


def _password_beside(password: Password | None, folder: Path) -> Password | None:
    if password and password.source == "file":
        return replace(password, name=_beside(folder, password.name))
    return password


def _beside(folder: Path, name: str) -> str:
    """A file named in the config is beside it; a URL stays one."""
    return name if "://" in name else str(folder / Path(name).expanduser())


def _at_home(mailbox: Mailbox, company: Company, folder: Path, values: Mapping[str, Any]) -> Mailbox:
    """With what the company has for all, where the mailbox says nothing of its own."""
    alert = mailbox.alert or values.get("alert") or Alerts()
    if alert.webhook:
        secret = _password_beside(alert.webhook.secret, folder) or alert.webhook.secret
        alert = replace(alert, webhook=replace(alert.webhook, secret=secret))
    return replace(
        mailbox,
        company=company.name,
        password=_password_beside(mailbox.password, folder),
        cafile=_beside(folder, mailbox.cafile) if mailbox.cafile else "",
        digest=values.get("digest", DIGEST) if mailbox.digest is None else mailbox.digest,
        alert=alert,
    )
