#!/bin/bash
# Makes sure that commands exist, with Debian's packages if they do not.
# Usage: packages.sh COMMAND:PACKAGE...    (PACKAGE alone means a command of the same name; an absolute path means a file)
# Asks apt for nothing when every command is there; never starts a service that it installs, except Docker's.
set -euo pipefail

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf 'packages: %s\n' "$*" >&2; }

missing=()
for entry in "$@"; do
    package=${entry#*:}
    command -v "${entry%%:*}" >/dev/null 2>&1 || [[ $entry == /* && -e ${entry%%:*} ]] || [[ " ${missing[*]} " == *" $package "* ]] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    say "please install what Debian calls: ${missing[*]}"
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    say "missing: ${missing[*]}. Please run:"
    say "    sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}"
    exit 1
fi

log=$(mktemp "${TMPDIR:-/tmp}/oneoff-apt.XXXXXX")
trap 'rm -f "$log"' EXIT

# Quiet unless it fails. stdin is closed to debconf, and a service that a package starts must not inherit our pipes.
apt() {
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l \
        apt-get -o DPkg::Lock::Timeout=120 -o Acquire::Retries=2 -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 </dev/null
}
explain() {
    say "apt-get $1 failed:"
    tail -n 20 "$log" >&2
    exit 1
}
available() { apt-cache show --no-all-versions "$1" >/dev/null 2>&1; }

say "installing ${missing[*]}"
updated=no
for package in "${missing[@]}"; do
    if ! available "$package"; then
        apt update || explain update
        updated=yes
        break
    fi
done
if ! apt install -y --no-install-recommends "${missing[@]}"; then
    # lists that are older than the archive name files that are gone
    [ "$updated" = no ] || explain install
    apt update || explain update
    apt install -y --no-install-recommends "${missing[@]}" || explain install
fi

# Debian starts a registry on port 5000 as soon as it is installed; the tests start their own, elsewhere.
case " ${missing[*]} " in
*" docker-registry "*)
    if [ -d /run/systemd/system ]; then
        systemctl disable --now docker-registry >/dev/null 2>&1 || true
    elif [ -e /run/docker-registry.pid ]; then
        /etc/init.d/docker-registry stop >/dev/null 2>&1 </dev/null || true
    fi
    ;;
esac
