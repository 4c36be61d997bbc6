"""The project that the demo runs: the same files that `whoelse init` makes, with accounts on the demo's own servers. Everything
is in one folder, so that what was kept can be looked into with every command."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol

from engine.config import Config, load_config
from engine.demo.story import COMPANY, COUNTRY, IDEAL_CLIENT, REP, ZONE
from engine.demo.world import HOST, Delivery
from engine.errors import UserError
from engine.library import shipped_folder
from engine.secrets import create_key

CONFIG = """\
# The project that `whoelse demo` ran, from March to April 2026 by its own clock. Its mail servers are gone: look around
# in it, but do not run it.
store: whoelse.db
company: {{name: {company}, domains: [{domain}], zone: {zone}, country: {country}}}
mailboxes:
  - address: {address}
    name: {name}
    smtp: {{host: {host}, port: {smtp}, security: none}}
    imap: {{host: {host}, port: {imap}, security: none}}
    password: {{file: password}}
    sent: append
    variables: {{ideal_client: {ideal_client}}}
digest: off
alert: {{email: false}}
"""


class Ports(Protocol):
    """Where the demo's servers answer."""

    @property
    def smtp_port(self) -> int: ...
    @property
    def imap_port(self) -> int: ...


def refuse_full(folder: Path) -> None:
    """Raises UserError where the project would mix with what is there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder", remedy="name one that does not exist yet")


def build(folder: Path, ports: Ports, password: str) -> Config:
    """Writes the project into `folder` and reads its config. Raises UserError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("sequences", "templates"):
            shutil.copytree(shipped_folder() / name, folder / name)
        create_key(folder / "secret.key")
        secret = folder / "password"
        secret.touch(0o600)
        secret.write_text(password + "\n")
        config = folder / "config.yaml"
        config.write_text(_config_text(ports))
    except OSError as error:
        raise UserError(f"the project cannot be written to {folder}: {error.strerror}") from error
    return load_config(config, {})  # the user's own WHOELSE_STORE has no say here


def _config_text(ports: Ports) -> str:
    return CONFIG.format(
        company=COMPANY,
        domain=REP.email.partition("@")[2],
        zone=ZONE,
        country=COUNTRY,
        address=REP.email,
        name=REP.name,
        host=HOST,
        smtp=ports.smtp_port,
        imap=ports.imap_port,
        ideal_client=IDEAL_CLIENT,
    )


def keep_mail(folder: Path, deliveries: list[Delivery]) -> None:
    """Every message that was delivered, as a file that any mail program opens."""
    folder.mkdir()
    for number, delivery in enumerate(deliveries, 1):
        to = delivery.recipient.partition("@")[0]
        (folder / f"{number:02} to {to}.eml").write_bytes(delivery.raw)
