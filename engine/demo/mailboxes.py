"""The demo's mailboxes and the IMAP server before them: pymap, told to be quick, and mended where it could lose the news of a
message. Only the world imports this, when it is known that pymap is installed."""

from __future__ import annotations

import asyncio
import ssl
from argparse import Namespace
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack, closing
from datetime import datetime

from proxyprotocol.reader import ProxyProtocolReader
from proxyprotocol.sock import SocketInfo
from pymap.backend.dict import DictBackend, Identity
from pymap.concurrent import Event, Subsystem
from pymap.context import connection_exit
from pymap.imap import IMAPConnection, IMAPServer
from pymap.imap.state import ConnectionState
from pymap.parsing.command.select import IdleCommand
from pymap.parsing.message import AppendMessage
from pymap.parsing.response import UntaggedResponse
from pymap.user import Passwords, UserMetadata
from pysasl.hashing import BuiltinHash

LOOK_SECONDS = 0.02


class Mailboxes:
    """Everybody's mail, in memory. Belongs to one event loop."""

    def __init__(self, backend: DictBackend) -> None:
        self._backend = backend

    @staticmethod
    async def open(people: Mapping[str, str], folders: Iterable[str]) -> Mailboxes:
        """An inbox and these folders for everybody (address to password)."""
        first, password = next(iter(people.items()))
        names = Namespace(debug=False, host=None, port=0, cert=None, key=None, tls=False, proxy_protocol=None)
        names.passlib_cfg, names.demo_data, names.demo_user, names.demo_password = None, False, first, password
        # pymap's defaults are made for the internet: half a million rounds of hashing at each login, block lists.
        backend, config = await DictBackend.init(
            names,
            hash_context=BuiltinHash(rounds=1),
            cpu_subsystem=Subsystem.for_asyncio(),
            invalid_user_sleep=0.0,
            reject_dnsbl=False,
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        )
        config.apply_context()
        mailboxes = Mailboxes(backend)
        for address, password in people.items():
            await mailboxes._add(address, password, folders)
        return mailboxes

    async def listen(self, host: str) -> asyncio.Server:
        """An IMAP server on a free port. (pymap's own start wants a port's number.)"""
        config = self._backend.config
        serve = ProxyProtocolReader(config.proxy_protocol).get_callback(_Server(self._backend.login, config))
        return await asyncio.start_server(serve, host, 0)

    async def append(self, address: str, folder: str, raw: bytes, at: datetime) -> int:
        """Puts a message into a folder and gives its UID."""
        async with self._of(address).new_session() as session:
            place, _ = await session.append_messages(folder, [AppendMessage(raw, at, frozenset())])
            return max(place.uids)

    async def _add(self, address: str, password: str, folders: Iterable[str]) -> None:
        identity, config = self._of(address), self._backend.config
        if address not in self._backend.login.users_dict:  # pymap keeps its first user itself
            hashed = await Passwords(config).hash_password(password)
            await identity.set(UserMetadata(config, address, password=hashed))
        async with identity.new_session() as session:
            for folder in folders:
                await session.create_mailbox(folder)

    def _of(self, address: str) -> Identity:
        return Identity(address, self._backend.login, None, frozenset())


class _Server(IMAPServer):
    """pymap's server with our state of a connection in place of its own."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sock_info: SocketInfo) -> None:
        connection = IMAPConnection(self.commands, self._config, reader, writer, sock_info)
        async with AsyncExitStack() as stack:
            connection_exit.set(stack)
            stack.enter_context(closing(connection))
            await connection.run(_State(self._login, self._config))


class _State(ConnectionState):
    """RFC 2177 §3: a client that idles hears of every message. pymap waits for the next change, and never tells of one that came
    between the client's last command and its IDLE; so this one looks."""

    async def receive_updates(self, cmd: IdleCommand, done: Event) -> Iterable[UntaggedResponse]:
        while True:
            selected = await self.session.check_mailbox(self.selected)
            self._selected, untagged = selected.fork(cmd)
            if (news := list(untagged)) or done.is_set():
                return news
            await done.wait(timeout=LOOK_SECONDS)
