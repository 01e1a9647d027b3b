#!/bin/bash
# Makes a directory that holds the engines of a suite of Debian, if it is not there already.
# Usage: root.sh SUITE DIR PACKAGE...
# Packages are unpacked and not configured: engines need nothing more, and it takes a third of the time.
set -euo pipefail

suite=$1 root=$2
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
base=(base-files base-passwd bash coreutils dash grep iproute2 iptables kmod mount procps sed util-linux)
mirror=http://deb.debian.org/debian
tries=3

say() { printf 'engines: %s\n' "$*" >&2; }

stamp=$(printf '%s\n' "$suite" "$mirror" "${base[@]}" "$@" | cat - "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)
[ "$(cat "$root/.stamp" 2>/dev/null)" != "$stamp" ] || exit 0

# Unpacks packages and what they depend on into a new directory. A snapshot of the archive may be older than its Release file
# allows; signatures are checked all the same.
unpack() { # DIR SUITE SOURCE PACKAGES [OPTION...]
    local dir=$1 suite=$2 source=$3 packages=$4 try
    shift 4
    for ((try = 1; ; try++)); do
        rm -rf "$dir"
        if timeout --kill-after=5 300 mmdebstrap --mode=root --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
            --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "3"' --aptopt='Acquire::http::Timeout "30"' \
            --include="$packages" "$@" "$suite" "$dir" "$source" >"$root.log" 2>&1; then
            return
        fi
        if [ $try -eq $tries ]; then
            say "cannot unpack $suite from $source; mmdebstrap said $tries times:"
            tail -n 20 "$root.log" >&2
            exit 1
        fi
        say "cannot unpack $suite from $source: trying again"
        sleep $((try * 5))
    done
}

"$here/../packages.sh" mmdebstrap
say "unpacking $suite with $*"
mkdir -p "$(dirname "$root")"
include=$(IFS=,; echo "${base[*]} $*")
unpack "$root" "$suite" "deb $mirror $suite main" "${include// /,}"

# what the packages' own scripts would have done
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
for tool in {ip,ip6}tables{,-save,-restore}; do ln -sf xtables-nft-multi "$root/usr/sbin/$tool"; done
for modules in "$root"/usr/lib/modules/*; do
    [ ! -d "$modules/kernel" ] || chroot "$root" depmod "${modules##*/}" >>"$root.log" 2>&1
done
echo "$stamp" >"$root/.stamp"
