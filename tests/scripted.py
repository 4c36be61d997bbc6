"""Servers that play a part: a TCP server whose every connection follows a script, and a small IMAP server on top of it that
can be made to say the wrong thing at the worst moment."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from engine.account import Account


@contextlib.contextmanager
def serving(handler: type[socketserver.BaseRequestHandler], host: str = "127.0.0.1") -> Iterator[int]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, allow_reuse_address, request_queue_size, block_on_close = True, True, 512, False

    with Server((host, 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()


@contextlib.contextmanager
def scripted(talk: Callable[[Line], None], tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[int]:
    """A TCP server on loopback whose every connection is played by `talk`; gives its port. With `tls` it speaks TLS."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                talk(Line(tls.wrap_socket(self.request, server_side=True) if tls else self.request))

    with serving(Handler, host) as port:
        yield port


class Line:
    """One connection of a scripted server: whole lines in, bytes out."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = sock.makefile("rb")

    def hear(self) -> bytes:
        """The next line without its end; EOFError when the client has gone."""
        line = self._file.readline()
        if not line:
            raise ConnectionResetError("the client has gone")
        return line.rstrip(b"\r\n")

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def say(self, text: str | bytes) -> None:
        """Send bytes as they are, or one line."""
        self.socket.sendall(text if isinstance(text, bytes) else text.encode() + b"\r\n")


@dataclass
class Stub:
    """A small IMAP server with an INBOX. `hooks` are called before a command is carried out, and may say something first."""

    mail: dict[int, bytes] = field(default_factory=dict)
    capabilities: str = "IMAP4rev1 IDLE"
    folders: tuple[str, ...] = ("INBOX",)
    hooks: dict[str, Callable[[Line, str], bool | None]] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    heard: list[str] = field(default_factory=list)
    connections: int = 0
    is_away: bool = False
    lines: list[Line] = field(default_factory=list)

    def account(self, **changes: object) -> Account:
        usual = Account(self.host, self.port, "none", "rep", lambda: "secret")
        return replace(usual, **changes)  # type: ignore[arg-type]

    def go_away(self) -> None:
        """Ends every connection, and any that comes, until `is_away` is not so any more."""
        self.is_away = True
        for line in self.lines:
            with contextlib.suppress(OSError):
                line.socket.shutdown(socket.SHUT_RDWR)

    def talk(self, line: Line) -> None:
        self.connections += 1
        self.lines.append(line)
        if self.is_away:
            return
        line.say("* OK a stub")
        while True:
            tag, _, command = line.hear().decode().partition(" ")
            verb = command.removeprefix("UID ").partition(" ")[0]
            self.heard.append(command)
            hook = self.hooks.get(verb)
            if hook is None or not hook(line, tag):
                getattr(self, f"_{verb.lower()}", self._anything)(line, tag, command)

    def _anything(self, line: Line, tag: str, command: str) -> None:
        line.say(f"{tag} OK done")

    def _capability(self, line: Line, tag: str, command: str) -> None:
        line.say(f"* CAPABILITY {self.capabilities}\r\n{tag} OK done")

    def _list(self, line: Line, tag: str, command: str) -> None:
        line.say("".join(f'* LIST () "/" "{name}"\r\n' for name in self.folders) + f"{tag} OK done")

    @property
    def next_uid(self) -> int:
        return max(self.mail, default=0) + 1

    def _examine(self, line: Line, tag: str, command: str) -> None:
        line.say(
            f"* {len(self.mail)} EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n"
            f"* OK [UIDNEXT {self.next_uid}] .\r\n{tag} OK [READ-ONLY] done"
        )

    def _status(self, line: Line, tag: str, command: str) -> None:
        folder = command.partition("(")[0].removeprefix("STATUS ").strip()
        line.say(f"* STATUS {folder} (UIDVALIDITY 7 UIDNEXT {self.next_uid})\r\n{tag} OK done")

    def _search(self, line: Line, tag: str, command: str) -> None:
        words = command.split()
        first = int(words[3].partition(":")[0]) if words[2] == "UID" else 1
        there = list(self.mail)  # mail comes while it is asked
        uids = [uid for uid in there if uid >= first] or there[-1:]
        line.say(f"* SEARCH {' '.join(map(str, uids))}\r\n{tag} OK done")

    def _fetch(self, line: Line, tag: str, command: str) -> None:
        for uid in map(int, command.split()[2].split(",")):
            raw = self.mail[uid]
            if "BODY" in command:
                line.say(f"* {uid} FETCH (UID {uid} BODY[] {{{len(raw)}}}\r\n".encode() + raw + b")\r\n")
            else:
                line.say(
                    f"* {uid} FETCH (UID {uid} RFC822.SIZE {len(raw)} FLAGS () "
                    'INTERNALDATE "05-Mar-2026 10:00:00 +0100")'
                )
        line.say(f"{tag} OK done")

    def _idle(self, line: Line, tag: str, command: str) -> None:
        line.say("+ idling")
        line.hear()
        line.say(f"{tag} OK done")

    def _logout(self, line: Line, tag: str, command: str) -> None:
        line.say(f"* BYE\r\n{tag} OK done")
        raise ConnectionResetError


@contextlib.contextmanager
def stub(**settings: Any) -> Iterator[Stub]:
    one = Stub(**settings)
    with scripted(one.talk, host=one.host) as one.port:
        yield one


def once(act: Callable[[Line, str], bool | None]) -> Callable[[Line, str], bool | None]:
    """A hook that acts the first time only."""
    left = [act]
    return lambda line, tag: left.pop()(line, tag) if left else None
