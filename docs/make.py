"""Makes what the docs say from what the program is: pictures from sequences and the state table, tables from the tables of keys,
the command reference from the commands. `make docs` writes; a test holds that what is checked in is what this makes.

Hand-written pages hold made parts between `<!-- begin NAME -->` and `<!-- end NAME -->`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import yaml
from drawings import programme_svg, states_svg, states_text
from moves import moves

from engine import config
from engine.cli.app import FILES, app
from engine.core import language
from engine.core.duration import Duration
from engine.core.sequence import Sequence, Step, parse_sequence
from engine.core.shapes import Key
from engine.pictures import as_svg

ROOT = Path(__file__).parent.parent
PART = re.compile(r"(<!-- begin (\w+)[^>]*-->\n).*?(<!-- end \2 -->)", re.DOTALL)

#: What a value of these shapes is called; the others are told from their schema.
CALLED: Mapping[int, str] = {
    id(shape.schema): words
    for shape, words in (
        (language.AT, "an anchor and a length: `start + 1 week`"),
        (language.AFTER, "a length, or `rest`"),
        (language.EXPRESSION, "an expression"),
        (language.TEMPLATE, "a template"),
        (language.STEP_NAME, "the id of a step"),
        (language.SEQUENCE_NAME, "a sequence"),
        (language.STARTS, "a sequence, or a list"),
        (language.OUTCOME, "a word of yours"),
        (language.WINDOW, "a window"),
        (language.WHEN, "events with handlers"),
        (language.MOMENT, "a time: `2026-03-02 09:30`"),
    )
}


# --- tables of keys --------------------------------------------------------------------------------------------------


def keys_table(keys: Mapping[str, Key], defaults: Mapping[str, str] | None = None) -> str:
    """One row a key: its name, what it takes, what it means."""
    rows = ["| key | takes | meaning |", "| --- | --- | --- |"]
    for name, key in keys.items():
        about = key.about + ("; needed" if key.required else "")
        if default := (defaults or {}).get(name):
            about += f"; default `{default}`"
        rows.append(f"| `{name}` | {takes(key.shape.schema)} | {about} |")
    return "\n".join(row.replace("|`", "| `") for row in rows)


def takes(schema: Mapping[str, Any]) -> str:
    """What may be written, in words."""
    if id(schema) in CALLED:
        return CALLED[id(schema)]
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if "business day" in schema.get("pattern", ""):
        return "a length: `3 days`"
    kinds = {"boolean": "`true` or `false`", "integer": "a number", "object": "a mapping", "array": "a list"}
    return kinds.get(str(schema.get("type")), "text")


def defaults_of(kind: type[Any]) -> dict[str, str]:
    """The defaults that are worth telling: words and lengths."""
    found = {}
    for field in dataclasses.fields(kind):
        value = field.default
        text = value.text if isinstance(value, Duration) else value
        if isinstance(text, str) and text and value is not dataclasses.MISSING:
            found[field.name] = text
    return found


# --- the commands ----------------------------------------------------------------------------------------------------


def commands_text() -> str:
    """Every command with its arguments, options and examples."""
    context = click.Context(app, info_name="whoelse")
    parts = [f"- [`{name}`](#whoelse-{name}) {_short(app.get_command(context, name))}" for name in _names()]
    for name in _names():
        parts += ["", *_command(app.get_command(context, name), f"whoelse {name}", "##")]
    return "\n".join(parts)


def _names() -> list[str]:
    return [name for names in FILES.values() for name in names]


def _short(command: click.Command | None) -> str:
    assert command is not None
    return command.get_short_help_str(100)


def _command(command: click.Command | None, name: str, level: str) -> Iterator[str]:
    assert command is not None
    arguments = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
    yield f"{level} {name}"
    yield f"`{' '.join([name, *arguments])}`"
    yield ""
    yield " ".join((command.help or "").split())
    if options := [p for p in command.params if isinstance(p, click.Option) and p.name not in ("config", "as_json")]:
        yield ""
        yield from map(_option, options)
    if examples := _examples(command):
        yield from ("", "```text", *examples, "```")
    if isinstance(command, click.Group):
        for sub in sorted(command.commands):
            yield ""
            yield from _command(command.commands[sub], f"{name} {sub}", f"{level}#")


def _option(option: click.Option) -> str:
    metavar = "" if option.is_flag else f" {option.metavar or 'TEXT'}"
    return f"- `{', '.join(option.opts)}{metavar}` {option.help}"


def _examples(command: click.Command) -> list[str]:
    lines = (command.epilog or "").replace("\b", "").strip().split("\n")[1:]
    return [line.removeprefix("  ") for line in lines]


# --- pages -----------------------------------------------------------------------------------------------------------


def providers_table() -> str:
    rows = ["| `provider:` | sends by | reads from | files Sent by itself |", "| --- | --- | --- | --- |"]
    for name, known in config.PROVIDERS.items():
        filed = {"server": "yes", "append": "no: we do", "auto": "found out"}[known.sent]
        servers = (f"{s.host}:{s.port} ({s.security})" for s in (known.smtp, known.imap))
        rows.append(f"| `{name}` | {' | '.join(servers)} | {filed} |")
    return "\n".join(rows)


def example_config() -> str:
    return f"```yaml\n{(ROOT / 'config.example.yaml').read_text(encoding='utf-8').rstrip()}\n```"


def example_values() -> dict[str, str]:
    """What the example shows as defaults; a test of the configuration holds that they are."""
    loaded = yaml.safe_load((ROOT / "config.example.yaml").read_text(encoding="utf-8"))
    return {name: str(value) for name, value in loaded.items() if isinstance(value, str)}


PARTS: Mapping[str, Callable[[], str]] = {
    "sequence": lambda: keys_table(language.SEQUENCE, defaults_of(Sequence)),
    "step": lambda: keys_table(language.STEP, defaults_of(Step)),
    "handler": lambda: keys_table(language.HANDLER),
    "set": lambda: keys_table(language.SET),
    "start": lambda: keys_table(language.START),
    "scenario": lambda: keys_table(language.SCENARIO),
    "outcomes": lambda: keys_table(language.EXPECT),
    "trigger": lambda: keys_table(language.TRIGGER),
    "commands": commands_text,
    "config": lambda: keys_table(config.KEYS, example_values()),
    "company": lambda: keys_table(config.COMPANY_KEYS),
    "moments": lambda: keys_table(config.MOMENTS_KEYS),
    "mailbox": lambda: keys_table(config.MAILBOX_KEYS),
    "providers": providers_table,
    "example": example_config,
    "states": lambda: states_text(moves()),
}


def shipped() -> dict[str, Sequence]:
    """The sequences that ship, by their keys."""
    found = {}
    for file in sorted((ROOT / "sequences").glob("*.yaml")):
        sequence, problems = parse_sequence(f"sequences/{file.name}", file.read_text(encoding="utf-8"))
        if file.stem != "triggers":
            assert sequence is not None, problems
            found[sequence.key] = sequence
    return found


def filled(page: str) -> str:
    """A page with its made parts as they must be."""
    return PART.sub(lambda part: f"{part[1]}{PARTS[part[2]]()}\n{part[3]}", page)


def made() -> dict[Path, str]:
    """Every file that is made, wholly or in parts, with its content."""
    sequences = shipped()
    pictures = ROOT / "docs" / "pictures"
    files = {pictures / f"{key}.svg": as_svg(sequence) for key, sequence in sequences.items()}
    files[pictures / "programme.svg"] = programme_svg(sequences)
    files[ROOT / "docs" / "state-machine.svg"] = states_svg(moves())
    for page in sorted((ROOT / "docs").glob("*.md")):
        files[page] = filled(page.read_text(encoding="utf-8"))
    return files


if __name__ == "__main__":
    for path, content in made().items():
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")
            print(f"made {path.relative_to(ROOT)}")
