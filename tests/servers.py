"""Real servers for the tests: Postfix, in front of the Dovecot that `engine.bench.servers` starts; PostgreSQL is from there, too.

Nothing of the system's own configuration is read or changed, and no process is left behind. Postfix changes users, so it
needs root; `Missing` says so in a sentence."""

from __future__ import annotations

import contextlib
import re
import shutil
import socketserver
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import scripted

from engine.bench.servers import (
    Certificates,
    Dovecot,
    Missing,
    certificates,
    dovecot,
    end,
    free_port,
    new_database,
    openssl,
    postgres,
    program,
    require,
    start,
    wait_for_ports,
)

__all__ = [
    "Certificates",
    "Dovecot",
    "Missing",
    "Postfix",
    "certificates",
    "dovecot",
    "new_database",
    "openssl",
    "postfix",
    "postgres",
]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@contextlib.contextmanager
def browser() -> Iterator[str]:
    """The path of a Chromium, under whichever name it is installed."""
    found = next(filter(None, map(program, BROWSERS)), None)
    if found is None:
        require(BROWSERS[0])
    assert found
    yield found


# --- Postfix -------------------------------------------------------------------------------------------------------------

POSTFIX_MAIN = """
compatibility_level = 3.6
queue_directory = {home}/spool
data_directory = {home}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {home}/maillog
maillog_file_prefixes = {home}
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = mx.{domain}
mydestination =
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = {domains}
virtual_mailbox_maps = texthash:{home}/mailboxes
virtual_transport = lmtp:inet:127.0.0.1:{lmtp_port}
default_transport = error:5.1.2 no such domain in these tests
relay_transport = error:5.1.2 no such domain in these tests
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:{policy_port}
smtpd_tls_cert_file = {tls.cert}
smtpd_tls_key_file = {tls.key}
smtpd_tls_security_level = may
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{auth_port}
smtpd_sasl_auth_enable = no
smtpd_tls_auth_only = yes
smtpd_error_sleep_time = 0
smtpd_client_connection_count_limit = 0
smtpd_delay_reject = yes
message_size_limit = 10240000
alias_maps =
alias_database =
"""
POSTFIX_SERVICES = """
127.0.0.1:{smtp_port} inet n - n - - smtpd
127.0.0.1:{submission_port} inet n - n - - smtpd
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_tls_security_level=encrypt
  -o smtpd_recipient_restrictions=check_policy_service,inet:127.0.0.1:{policy_port},permit_sasl_authenticated,reject
127.0.0.1:{smtps_port} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_recipient_restrictions=check_policy_service,inet:127.0.0.1:{policy_port},permit_sasl_authenticated,reject
"""


@dataclass
class Postfix:
    """A running Postfix in front of a Dovecot, for the domains of its users.

    `submission_port` wants STARTTLS and a login, `smtps_port` TLS and a login, `smtp_port` neither (mail from outside).
    An unknown recipient of those domains is refused at RCPT (550 5.1.1), and so is any other domain (550 5.1.2). The name
    `gone` at those domains is accepted, then refused by Dovecot: a real DSN comes back. `answer` makes Postfix reply with
    anything to the next RCPTs for an address."""

    home: Path
    tls: Certificates
    smtp_port: int
    submission_port: int
    smtps_port: int
    _answers: dict[str, list[str]]
    _process: subprocess.Popen[bytes] | None = None

    @property
    def cafile(self) -> str:
        return self.tls.cafile

    @property
    def log(self) -> Path:
        return self.home / "maillog"

    def answer(self, recipient: str, reply: str, times: int = 1) -> None:
        """For the next `times` RCPTs of this address reply with e.g. "451 4.7.1 Greylisted, try again later"."""
        self._answers.setdefault(recipient, []).extend([reply] * times)

    def greylist(self, recipient: str, times: int = 1) -> None:
        self.answer(recipient, "451 4.7.1 Greylisted, please try again later", times)

    def start(self) -> None:
        conf = str(self.home / "conf")
        subprocess.run([program("postfix") or "postfix", "-c", conf, "check"], check=True, capture_output=True)
        # The master itself and not "postfix start-fg": that one runs it in a session of its own, out of our reach.
        self._process = start(["/usr/lib/postfix/sbin/master", "-c", conf, "-d"], self.home / "out.log")
        wait_for_ports(self._process, (self.smtp_port, self.submission_port, self.smtps_port), self.home / "out.log")

    def stop(self) -> None:
        if self._process is not None:
            end(self._process)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()


@contextlib.contextmanager
def postfix(tmpdir: Path, dovecot: Dovecot) -> Iterator[Postfix]:
    """Run Postfix in tmpdir; it delivers to Dovecot over LMTP and asks Dovecot about logins."""
    require("postfix", root=True)
    for name in ("conf", "spool", "data"):
        (tmpdir / name).mkdir(parents=True)
    shutil.chown(tmpdir / "data", "postfix")
    tmpdir.chmod(0o711)
    answers: dict[str, list[str]] = {}
    with policy_service(answers) as policy_port:
        server = Postfix(tmpdir, dovecot.tls, free_port(), free_port(), free_port(), answers)
        write_postfix_conf(server, dovecot, policy_port)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def write_postfix_conf(server: Postfix, dovecot: Dovecot, policy_port: int) -> None:
    domains = sorted({address.partition("@")[2] for address in dovecot.users})
    values = {name: getattr(server, name) for name in ("home", "tls", "smtp_port", "submission_port", "smtps_port")} | {
        "domain": domains[0], "domains": ", ".join(domains), "policy_port": policy_port,
        "lmtp_port": dovecot.lmtp_port, "auth_port": dovecot.auth_port,
    }  # fmt: skip
    (server.home / "mailboxes").write_text(
        "".join(f"{address} x\n" for address in (*dovecot.users, *(f"gone@{d}" for d in domains)))
    )
    (server.home / "conf" / "main.cf").write_text(POSTFIX_MAIN.format(**values))
    shipped = Path("/usr/share/postfix/master.cf.dist").read_text()
    without_port_25 = re.sub(r"(?m)^(smtp\s+inet)", r"#\1", shipped)
    without_chroot = re.sub(r"(?m)^([a-z]+\s+(?:unix|inet)\s+\S+\s+\S+\s+)y", r"\1n", without_port_25)
    (server.home / "conf" / "master.cf").write_text(without_chroot + POSTFIX_SERVICES.format(**values))


@contextlib.contextmanager
def policy_service(answers: dict[str, list[str]]) -> Iterator[int]:
    """A Postfix policy server (SMTPD_POLICY_README): answers RCPT by the list under the recipient's address, else DUNNO."""

    class Policy(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked: dict[str, str] = {}
            for line in self.rfile:
                name, _, value = line.decode(errors="replace").strip().partition("=")
                asked[name] = value
                if not name:
                    waiting = answers.get(asked.get("recipient", ""), [])
                    self.wfile.write(f"action={waiting.pop(0) if waiting else 'DUNNO'}\n\n".encode())
                    asked = {}

    with scripted.serving(Policy) as port:
        yield port
