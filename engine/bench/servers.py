"""Private servers: Dovecot and PostgreSQL, started in a temporary folder on loopback ports, for the benchmark and the tests.

Nothing of the system's own configuration is read or changed. Each is a context manager that leaves no process behind; they
also end when the process that started them dies. Dovecot changes users, so it needs root; `Missing` says so in a sentence."""

from __future__ import annotations

import contextlib
import ctypes
import imaplib
import os
import pwd
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

START_SECONDS = 30.0
PR_SET_PDEATHSIG = 1


class Missing(Exception):
    """A server cannot be started on this machine; the text says what is lacking and what to do."""


def require(*programs: str, root: bool = False) -> None:
    """Raise Missing unless all programs are installed (and we are root, where the server changes users)."""
    absent = [name for name in programs if program(name) is None]
    if absent:
        raise Missing(f"{', '.join(absent)} is not installed; run tests/install-servers.sh as root")
    if root and os.geteuid() != 0:
        raise Missing(f"{programs[0]} changes users, so its tests must run as root")


def program(name: str) -> str | None:
    """Where a program is; Debian keeps servers in /usr/sbin and PostgreSQL's in a folder for each version."""
    newest_first = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True)
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *map(str, newest_first)]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def start(command: list[str], log: Path, user: str | None = None) -> subprocess.Popen[bytes]:
    """Start a server in the foreground, in a process group of its own: Postfix signals its whole group."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=log.parent, user=user,
            preexec_fn=die_with_parent, start_new_session=True,
        )  # fmt: skip


def end(process: subprocess.Popen[bytes], stop: signal.Signals = signal.SIGTERM) -> None:
    """Ask a server to stop and wait until it has gone (its ports are free only then); its workers go with it."""
    workers = children(process.pid)
    process.send_signal(stop)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_for_ports(process: subprocess.Popen[bytes], ports: Iterable[int], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    for port in ports:
        while not listening(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"{process.args!r} did not open port {port}:\n{log.read_text(errors='replace')[-3000:]}"
                )
            time.sleep(0.01)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- TLS -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificates:
    """A private authority and a certificate for localhost that it signed."""

    cafile: str
    cert: str
    key: str

    def context(self) -> ssl.SSLContext:
        """What a server of ours needs to show this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context


def certificates(folder: Path, names: str = "DNS:localhost,IP:127.0.0.1") -> Certificates:
    """Make (once per folder) a CA and a server certificate for these names."""
    require("openssl")
    made = Certificates(str(folder / "ca.pem"), str(folder / "cert.pem"), str(folder / "key.pem"))
    if Path(made.cert).exists():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    ca_key = str(folder / "ca-key.pem")
    openssl("req", "-x509", *new_key, "-subj", "/CN=test authority", "-keyout", ca_key, "-out", made.cafile,
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    openssl(
        "req", "-new", *new_key[:-2], "-subj", "/CN=localhost", "-keyout", made.key, "-out", str(folder / "cert.csr")
    )
    (folder / "names").write_text(
        f"subjectAltName={names}\nextendedKeyUsage=serverAuth\nkeyUsage=critical,digitalSignature\n"
    )
    openssl("x509", "-req", "-in", str(folder / "cert.csr"), "-CA", made.cafile, "-CAkey", ca_key, "-CAcreateserial",
            "-days", "30", "-extfile", str(folder / "names"), "-out", made.cert)  # fmt: skip
    return made


def openssl(*arguments: str) -> None:
    subprocess.run([program("openssl") or "openssl", *arguments], check=True, capture_output=True)


# --- Dovecot -------------------------------------------------------------------------------------------------------------

DOVECOT_CONF = """
base_dir = {home}/run
state_dir = {home}/state
instance_name = test-{imap_port}
protocols = imap lmtp
listen = 127.0.0.1
log_path = {home}/dovecot.log
ssl = yes
ssl_cert = <{tls.cert}
ssl_key = <{tls.key}
ssl_dh =
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
default_internal_user = dovecot
default_internal_group = dovecot
default_login_user = dovenull
default_client_limit = 4000
mail_max_userip_connections = 0
first_valid_uid = 1
mail_location = maildir:~/Maildir
mail_always_cache_fields = flags hdr.message-id hdr.references
mailbox_list_index = yes
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {home}/users/%u
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {home}/users/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
{folders}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = {imaps_port}
    ssl = yes
  }}
  process_min_avail = 1
  service_count = 0
}}
service imap {{
  process_limit = 1500
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp_port}
  }}
}}
service auth {{
  inet_listener {{
    address = 127.0.0.1
    port = {auth_port}
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
protocol lmtp {{
  postmaster_address = postmaster@localhost
  hostname = localhost
}}
"""
FOLDERS = {"Sent": "Sent", "Drafts": "Drafts", "Junk": "Junk", "Trash": "Trash", "Archive": "Archive"}


@dataclass
class Dovecot:
    """A running Dovecot. `users` maps address to password; every one has INBOX, Sent, Drafts, Junk, Trash, Archive.

    Plain and STARTTLS on `imap_port`, implicit TLS on `imaps_port` (its certificate for localhost is signed by `cafile`)."""

    home: Path
    users: dict[str, str]
    tls: Certificates
    imap_port: int = field(default_factory=free_port)
    imaps_port: int = field(default_factory=free_port)
    lmtp_port: int = field(default_factory=free_port)
    auth_port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def cafile(self) -> str:
        return self.tls.cafile

    @property
    def log(self) -> Path:
        return self.home / "dovecot.log"

    def start(self) -> None:
        self._process = start(["/usr/sbin/dovecot", "-F", "-c", str(self.home / "dovecot.conf")], self.home / "out.log")
        wait_for_ports(self._process, (self.imap_port, self.imaps_port, self.lmtp_port, self.auth_port), self.log)

    def stop(self) -> None:
        if self._process is not None:
            end(self._process)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def add_user(self, address: str, password: str = "secret") -> None:
        """One more mailbox while the server runs; an old address gets a new password. (A file each: Dovecot looks at most
        once a second whether one that it knows has changed.)"""
        self.users[address] = password
        nobody = pwd.getpwnam("nobody")
        home = self.home / "mail" / address
        (self.home / "users" / address).write_text(
            f"{address}:{{PLAIN}}{password}:{nobody.pw_uid}:{nobody.pw_gid}::{home}\n"
        )

    def deliver(self, user: str, raw: bytes, sender: str = "someone@elsewhere.example") -> None:
        """Put a message into a user's INBOX as a mail server does (LMTP)."""
        with smtplib.LMTP("127.0.0.1", self.lmtp_port, local_hostname="localhost") as lmtp:
            lmtp.sendmail(sender, [user], raw)

    def append(self, user: str, folder: str, raw: bytes, flags: str = "", at: datetime | None = None) -> None:
        """Put a message into any folder as a mail client does (APPEND)."""
        when = imaplib.Time2Internaldate(at) if at else ""
        with self.client(user) as imap:
            reply, data = imap.append(folder, flags, when, raw)
            assert reply == "OK", data

    def make(self, user: str, folder: str) -> None:
        """Make one of the usual folders exist on disk: Dovecot makes it when it is opened first."""
        with self.client(user) as imap:
            assert imap.select(f'"{folder}"')[0] == "OK"

    def file(self, user: str, folder: str, raw: bytes) -> None:
        """Put a read message into a folder that exists, in one instant: as a server does that files what it sends."""
        box = self.home / "mail" / user / "Maildir" / f".{folder}"
        name = f"{time.time_ns()}.{uuid.uuid4().hex}.test:2,S"
        (box / "tmp" / name).write_bytes(raw)
        shutil.chown(box / "tmp" / name, "nobody", "nogroup")
        (box / "tmp" / name).rename(box / "cur" / name)

    def messages(self, user: str, folder: str = "INBOX") -> list[bytes]:
        """Every message of a folder, oldest first, as a second mail client sees them; flags stay as they are."""
        return [part[1] for part in self._fetch(user, folder, "(BODY.PEEK[])") if isinstance(part, tuple)]

    def flags(self, user: str, folder: str = "INBOX") -> list[bytes]:
        """The FLAGS answer of every message of a folder."""
        return [line for line in self._fetch(user, folder, "(FLAGS)") if isinstance(line, bytes)]

    def _fetch(self, user: str, folder: str, what: str) -> list[bytes | tuple[bytes, bytes] | None]:
        with self.client(user) as imap:
            _, (count,) = imap.select(f'"{folder}"', readonly=True)
            return list(imap.fetch("1:*", what)[1]) if int(count or 0) else []

    @contextlib.contextmanager
    def client(self, user: str) -> Iterator[imaplib.IMAP4]:
        with imaplib.IMAP4("127.0.0.1", self.imap_port, timeout=10) as imap:
            imap.login(user, self.users[user])
            yield imap

    def session_pids(self) -> list[int]:
        """The process of every IMAP session."""
        assert self._process is not None
        return [pid for pid in children(self._process.pid) if Path(f"/proc/{pid}/comm").read_text().strip() == "imap"]

    def kill_sessions(self) -> int:
        """Drop every IMAP connection as a crash would; returns how many processes that were. (Dovecot then waits 2 seconds
        or more before it serves the next login.)"""
        pids = self.session_pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    def renumber(self, user: str, folder: str = "INBOX") -> None:
        """Give a folder a new UIDVALIDITY and new UIDs, as a server that lost its index does."""
        self.kill_sessions()
        box = self.home / "mail" / user / "Maildir" / ("" if folder == "INBOX" else f".{folder}")
        numbers = box / "dovecot-uidlist"
        head = numbers.read_text().split("\n", 1)[0]
        match = re.search(r"V(\d+)", head)
        assert match, head
        numbers.write_text(f"3 V{int(match[1]) + 1000} N1\n")
        for index in [
            *box.glob("dovecot.index*"),
            *(self.home / "mail" / user / "Maildir").glob("dovecot.list.index*"),
        ]:
            index.unlink()


def children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


@contextlib.contextmanager
def dovecot(tmpdir: Path, users: Mapping[str, str], folders: Mapping[str, str] = FOLDERS) -> Iterator[Dovecot]:
    """Run Dovecot in tmpdir. `folders` maps a folder's name to its SPECIAL-USE without the backslash, "" for none."""
    require("dovecot", "openssl", root=True)
    if not Path("/usr/lib/dovecot/lmtp").exists():
        raise Missing("dovecot-lmtpd is not installed; run tests/install-servers.sh as root")
    for name in ("run", "state", "mail", "users"):
        (tmpdir / name).mkdir(parents=True)
    shutil.chown(tmpdir / "mail", "nobody", "nogroup")
    tmpdir.chmod(0o711)  # the server's processes run as other users and must find their way in
    server = Dovecot(tmpdir, {}, certificates(tmpdir / "tls"))
    for address, password in users.items():
        server.add_user(address, password)
    (tmpdir / "dovecot.conf").write_text(
        DOVECOT_CONF.format(home=tmpdir, folders="".join(map(dovecot_folder, folders.items())), **ports_and_tls(server))
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


def ports_and_tls(server: Dovecot) -> dict[str, object]:
    return {name: getattr(server, name) for name in ("tls", "imap_port", "imaps_port", "lmtp_port", "auth_port")}


def dovecot_folder(folder: tuple[str, str]) -> str:
    name, use = folder
    special = f"    special_use = \\{use}\n" if use else ""
    return f'  mailbox "{name}" {{\n    auto = subscribe\n{special}  }}\n'


# --- PostgreSQL ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def postgres(tmpdir: Path, safe: bool = False) -> Iterator[str]:
    """Run PostgreSQL in tmpdir and give its URL (a superuser without a password). As root it runs as the user postgres. Only
    `safe` does it wait for the disk, as a real one does."""
    require("initdb", "postgres")
    user = "postgres" if os.geteuid() == 0 else None
    tmpdir.mkdir(parents=True, exist_ok=True)
    tmpdir.chmod(0o711)
    data, port = tmpdir / "data", free_port()
    data.mkdir(mode=0o700)
    if user:
        shutil.chown(data, user)
    subprocess.run(
        [program("initdb") or "initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
        check=True, capture_output=True, user=user, cwd="/",
    )  # fmt: skip
    options = [
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        f"port={port}",
        "-c",
        "unix_socket_directories=",
        "-c",
        f"fsync={'on' if safe else 'off'}",
    ]
    process = start([program("postgres") or "postgres", "-D", str(data), *options], tmpdir / "postgres.log", user)
    try:
        wait_for_postgres(process, port, tmpdir / "postgres.log")
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        end(process, signal.SIGINT)  # a "fast" shutdown: open connections are closed


def new_database(url: str) -> str:
    """The URL of a new, empty database of the same server."""
    import psycopg

    name = f"whoelse_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def wait_for_postgres(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    wait_for_ports(process, [port], log)
    deadline = time.monotonic() + START_SECONDS
    while "ready to accept connections" not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(log.read_text(errors="replace")[-3000:])
        time.sleep(0.01)
