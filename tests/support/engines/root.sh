#!/bin/bash
# Makes a directory that holds a Debian suite's engines, if it is not there already.
# Usage: root.sh SUITE DIR PACKAGE...
# Packages are unpacked and not configured: engines need nothing more, and it takes a third of the time.
set -euo pipefail

suite=$1 root=$2
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
base=(base-files base-passwd bash coreutils dash grep iproute2 iptables kmod mount procps sed util-linux)
mirror=http://deb.debian.org/debian

say() { printf 'engines: %s\n' "$*" >&2; }

stamp=$(printf '%s\n' "$suite" "$mirror" "${base[@]}" "$@" | cat - "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)
[ "$(cat "$root/.stamp" 2>/dev/null)" != "$stamp" ] || exit 0

"$here/../packages.sh" mmdebstrap
say "unpacking Debian $suite with $* (once, about 30 s)"
rm -rf "$root"
mkdir -p "$(dirname "$root")"
include=$(IFS=,; echo "${base[*]} $*")
# A snapshot of the archive may be older than its Release file allows; signatures are checked all the same.
if ! mmdebstrap --mode=root --variant=extract \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "3"' \
    --include="${include// /,}" "$suite" "$root" "deb $mirror $suite main" >"$root.log" 2>&1; then
    say "mmdebstrap failed:"
    tail -n 20 "$root.log" >&2
    exit 1
fi

# what the packages' own scripts would have done
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
for tool in {ip,ip6}tables{,-save,-restore}; do ln -sf xtables-nft-multi "$root/usr/sbin/$tool"; done
for modules in "$root"/usr/lib/modules/*; do
    [ ! -d "$modules/kernel" ] || chroot "$root" depmod "${modules##*/}" >>"$root.log" 2>&1
done
echo "$stamp" >"$root/.stamp"
