"""A real mail program: Mutt, on a terminal of its own, opens a `mailto:` link and hands the draft to its editor, which keeps it."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from pathlib import Path

import servers

WAIT_SECONDS = 60
SETTINGS = """
set edit_headers=yes fast_reply=yes autoedit=yes abort_unmodified=yes signature="" record="" charset=utf-8
set folder={folder} spoolfile={folder}/spool postponed={folder}/postponed mbox={folder}/mbox
set from="dana@client.example" editor="cp %s {folder}/draft"
"""


@contextlib.contextmanager
def mutt(folder: Path) -> Iterator[Callable[[str], EmailMessage]]:
    """Gives what opens a link: the draft that somebody finds before them who has clicked on it."""
    servers.require("mutt")
    (folder / "spool").touch()
    (folder / "muttrc").write_text(SETTINGS.format(folder=folder))
    screen, terminal = pty.openpty()
    try:
        yield partial(_draft, folder, terminal)
    finally:
        os.close(screen)
        os.close(terminal)


def _draft(folder: Path, terminal: int, link: str) -> EmailMessage:
    subprocess.run(
        ["mutt", "-n", "-F", folder / "muttrc", link], stdin=terminal, stdout=terminal, stderr=terminal,
        env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", "HOME": str(folder)}, timeout=WAIT_SECONDS,
        start_new_session=True,
    )  # fmt: skip
    return message_from_bytes((folder / "draft").read_bytes(), policy=policy.default)
