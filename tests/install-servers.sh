#!/bin/sh
# Installs the real servers that the tests talk to, Dovecot, Postfix, PostgreSQL, a mail program, Mutt, and a browser, Chromium
# (Debian packages).
# Quick when all are there; without the right to install it says what to do and changes nothing.
set -eu

packages="dovecot-imapd dovecot-lmtpd dovecot-sieve postfix postgresql openssl mutt chromium"
missing=""
for package in $packages; do
    if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "The tests against real servers need dovecot, postfix and postgresql; this system has no apt-get, so install them by hand. Without them those tests are skipped." >&2
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    root="sudo"
else
    echo "The tests against real servers need Debian packages that only root may install. Run: sudo apt-get install$missing  (without them those tests are skipped)" >&2
    exit 0
fi

echo "Installing for the tests:$missing"
# The servers are started by the tests themselves, on loopback and with private settings: the system's own stay unconfigured.
echo "postfix postfix/main_mailer_type select No configuration" | $root debconf-set-selections
# shellcheck disable=SC2086
install() { $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing; }
install || { $root apt-get update -q && install; } || {
    echo "Installing$missing failed; install them by hand, or go on without: the tests that need them are skipped." >&2
    [ "${CI:-}" != true ]
}
