"""The emails of a sequence as they would go out: in the terminal, in a browser, or as a test mail to oneself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.options import (
    config_option,
    configuration,
    edited,
    email_argument,
    example,
    json_option,
    named_values,
    rep_option,
    sequence_argument,
    values_option,
)
from engine.cli.output import now, print_json, remark, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.installation import Installation
    from engine.preview import Previewed

commands = click.Group()


@commands.command(
    "preview",
    short_help="Show the emails exactly as they would go out.",
    epilog=example(
        "whoelse preview ask dana@acme.example",
        "whoelse preview ask dana@acme.example --step reminder --html",
        "whoelse preview ask dana@acme.example --step reminder --send-to me@consulting.example",
    ),
)
@sequence_argument
@email_argument
@click.option("--step", metavar="ID", default="", help="Only this step's email.")
@values_option
@rep_option
@click.option("--html", is_flag=True, help="Write them as a page, and open it where a browser is.")
@click.option("--send-to", metavar="ADDRESS", default="", help="Send them there as a test, and nowhere else.")
@config_option
@json_option
def preview(
    sequence: str,
    email: str,
    step: str,
    values: tuple[str, ...],
    rep: str,
    html: bool,
    send_to: str,
    config: Path,
    as_json: bool,
) -> None:
    """Show the emails of a sequence exactly as they would go out to somebody. Nothing is kept, and nothing sent but with --send-to:
    then to that address only, marked as a test, over the rep's own server."""
    from engine.preview import letters_of, page

    inst = edited(configuration(config))
    letters, invented = letters_of(inst, sequence, email, step, named_values(values), rep, now())
    if invented:
        remark(f"Sample values stand in for: {', '.join(invented)}.")
    if send_to:
        _send_tests(inst, letters, send_to)
    elif as_json:
        fields = ("step", "to", "bcc", "subject", "text", "html")
        print_json([{name: getattr(letter, name) for name in fields} for letter in letters])
    elif html:
        _show_page(page(sequence, letters))
    else:
        for letter in letters:
            say(f"--- {letter.step}")
            say(f"From: {letter.sender}\nTo: {letter.to}")
            if letter.bcc:
                say(f"Bcc: {letter.bcc}")
            say(f"Subject: {letter.subject}\n")
            say(letter.text.rstrip() + "\n")


def _show_page(content: str) -> None:
    import tempfile
    import webbrowser

    from engine.cli.output import opens_browser

    with tempfile.NamedTemporaryFile("w", suffix=".html", prefix="whoelse-", delete=False, encoding="utf-8") as file:
        file.write(content)
    say(file.name)
    if opens_browser():
        webbrowser.open(Path(file.name).as_uri())


def _send_tests(inst: Installation, letters: Sequence[Previewed], address: str) -> None:
    """Over the rep's own server, as it will be. Raises UserError with the server's word where one is not taken."""
    import asyncio

    from engine.core.needs import person
    from engine.daemon import account
    from engine.errors import UserError
    from engine.preview import test_mail
    from engine.smtp import Accepted, Session

    try:
        to = person({"email": address})["email"]
    except ValueError as error:
        raise click.BadParameter(f"{address!r} {error}", param_hint="--send-to") from None
    if not letters:
        raise UserError("there is no email to send", remedy="whoelse preview without --send-to shows what there is")
    mailbox = inst.rep(letters[0].rep)
    reached = account(mailbox, "smtp")

    async def send() -> list[object]:
        async def yes() -> bool:
            return True

        session = Session(reached)
        try:
            raws = [test_mail(inst, letter, to, now()) for letter in letters]
            return [await session.deliver(mailbox.address, to, raw, before_body=yes) for raw in raws]
        finally:
            await session.close()

    for letter, result in zip(letters, asyncio.run(send()), strict=True):
        if not isinstance(result, Accepted):
            raise UserError(f"{letter.step} was not sent to {to}: {getattr(result, 'text', result)}")
        say(f"{letter.step}: sent to {to} as a test; nothing is recorded.")


# --- documents -------------------------------------------------------------------------------------------------------


@commands.command(
    "document",
    short_help="Fill in a document, like the referral agreement.",
    epilog=example(
        "whoelse document agreement dana@acme.example -v reward='Ten per cent of the first invoice.' …",
        "whoelse document agreement dana@acme.example --from terms.yaml agreement.html",
    ),
)
@click.argument("template")
@email_argument
@click.argument("file", required=False, type=click.Path(path_type=Path))
@values_option
@click.option("--from", "source", metavar="FILE", type=click.Path(path_type=Path), help="Variables from a YAML file.")
@rep_option
@config_option
def document(
    template: str, email: str, file: Path | None, values: tuple[str, ...], source: Path | None, rep: str, config: Path
) -> None:
    """Fill in a document template for somebody, in their language, as a page to print and sign. It is written into FILE, else into
    one that is named after its title. Nothing is sent."""
    from engine.cli.entering import from_file
    from engine.errors import UserError
    from engine.letters import document as filled
    from engine.letters import lacking, sheet_of

    inst = edited(configuration(config))
    contact = inst.store.contact_at(email)
    if contact is None:
        raise UserError(
            f"nobody has the address {email}", remedy="whoelse contacts import, or enroll, makes them known"
        )
    owner = rep or contact.owner
    given = {**inst.rep(owner).variables, **from_file(source), **named_values(values)}
    if missing := lacking(inst, template, contact, given):
        raise UserError(
            f"{template} needs {', '.join(missing)}", remedy=f"add -v {missing[0]}=…, or name a file with --from"
        )
    name, page = sheet_of(filled(inst, template, contact, owner, given, now()))
    target = file or Path(name)
    try:
        with target.open("xb") as out:
            out.write(page)
    except FileExistsError:
        raise UserError("is there already", str(target), "name another file, or delete it first") from None
    say(f"It is in {target}: open it in a browser, read it, and print it from there.")
