#!/bin/bash
# Gives the engine the images that the demo, the tests and the benchmark run, without needing a registry.
#   alpine:latest busybox:latest   kept when present, else pulled (bounded), else made from Debian's static busybox
#   oneoff-test:*                  always made from the static busybox, so that tests know what is inside
# Idempotent: when everything is there it only asks the engine once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
pull_secs=${ONEOFF_PULL_SECS:-15}
export DOCKER_CONTEXT=default # like the server: DOCKER_HOST or the default socket, never a CLI context

say() { printf 'images: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 1
}

public=(alpine:latest busybox:latest)
made=(oneoff-test:latest oneoff-test:nonroot oneoff-test:named-user oneoff-test:entrypoint oneoff-test:content)

is_static() {
    [ -x "$1" ] && ! grep -aqF -e /lib64/ld-linux -e /lib/ld-linux -e /lib/ld-musl "$1"
}

is_root() { [ "$(id -u)" -eq 0 ]; }

fetch_busybox() (
    cd "$1" && apt-get -qq -o APT::Sandbox::User=root download busybox-static && dpkg-deb -x busybox-static_*.deb .
) >&2

# The machine's busybox when it is a static one; else the package's, unpacked under target/ without installing it.
static_busybox() {
    local candidate unpacked=$root/target/busybox-static
    for candidate in /bin/busybox /usr/bin/busybox "$unpacked/bin/busybox" "$unpacked/usr/bin/busybox"; do
        if is_static "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    command -v apt-get >/dev/null || fail "a static busybox is needed: install your distribution's busybox-static"
    mkdir -p "$unpacked"
    fetch_busybox "$unpacked" || { is_root && apt-get -qq update && fetch_busybox "$unpacked"; } ||
        fail "cannot fetch busybox-static; run: apt-get update && apt-get install -y busybox-static"
    for candidate in "$unpacked/bin/busybox" "$unpacked/usr/bin/busybox"; do
        if is_static "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "the busybox-static package holds no static busybox"
}

# One line per image that the engine has: "<tag> <hash of the rootfs it was made from, or - for a foreign one>".
present() {
    docker image ls --no-trunc --format '{{.Repository}}:{{.Tag}}' |
        grep -xF "$(printf '%s\n' "${public[@]}" "${made[@]}")" |
        xargs -r docker image inspect --format \
            '{{range .RepoTags}}{{println . (or (index $.Config.Labels "oneoff.test.rootfs") "-")}}{{end}}' 2>/dev/null |
        sort -u || true
}

# True when the engine has TAG and it is foreign (a real alpine) or made from this very rootfs.
# oneoff-test:* is never foreign.
good() {
    local have
    have=$(awk -v tag="$1" '$1 == tag { print $2 }' <<<"$engine_has")
    case $have in
    "$hash") return 0 ;;
    -) [[ $1 != oneoff-test:* ]] ;;
    *) return 1 ;;
    esac
}

missing() {
    local tag
    for tag in "$@"; do good "$tag" || echo "$tag"; done
}

known() { grep -q "^$1 " <<<"$engine_has"; }

# All at once, each bounded: on some machines a registry refuses, on others it never answers.
pull_all() {
    local tag pids=()
    for tag in "$@"; do
        say "$tag: trying to pull (at most $pull_secs s)"
        timeout "$pull_secs" docker pull -q "$tag" >/dev/null 2>&1 </dev/null &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || true; done
}

import() { # TAR TAG [--change X]...
    local tar=$1 tag=$2 old
    shift 2
    old=$(docker image inspect --format '{{.Id}}' "$tag" 2>/dev/null || true)
    docker import \
        --change "LABEL oneoff.test=1 oneoff.test.rootfs=$hash" \
        --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        "$@" "$tar" "$tag" >/dev/null
    # the image that this one replaces would stay behind untagged
    [ -z "$old" ] || docker image rm "$old" >/dev/null 2>&1 || true
    say "$tag: made from busybox-static"
}

make_image() {
    local base=$work/base.tar sh='CMD ["/bin/sh"]'
    case $1 in
    alpine:latest | busybox:latest | oneoff-test:latest) import "$base" "$1" --change "$sh" ;;
    oneoff-test:nonroot) import "$base" "$1" --change "$sh" --change 'USER 1000:1000' ;;
    oneoff-test:named-user) import "$base" "$1" --change "$sh" --change 'USER app' ;;
    oneoff-test:entrypoint)
        import "$base" "$1" --change 'ENTRYPOINT ["/bin/echo","entry"]' --change 'CMD ["cmd"]' \
            --change 'ENV IMAGE_VAR=from-image' --change 'WORKDIR /srv'
        ;;
    oneoff-test:content) import "$work/content.tar" "$1" --change "$sh" --change 'VOLUME /declared' ;;
    *) fail "$1: no recipe" ;;
    esac
}

check_architecture() {
    local engine machine
    engine=$(docker version --format '{{.Server.Arch}}')
    machine=$(uname -m)
    case $engine:$machine in
    amd64:x86_64 | arm64:aarch64 | arm*:arm* | "$machine":*) ;;
    *) fail "the engine is $engine and this machine $machine: its busybox would not run there; pull ${public[*]} by hand" ;;
    esac
}

busybox=$(static_busybox)
hash=$(cat "$busybox" "$here/rootfs.sh" | sha256sum | cut -c1-16)
engine_has=$(present)
mapfile -t todo < <(missing "${public[@]}" "${made[@]}")
[ ${#todo[@]} -gt 0 ] || exit 0

# two checkouts on one machine must not import over each other
exec 9>"${TMPDIR:-/tmp}/oneoff-test-images-$(id -u).lock"
flock -w 120 9 || fail "another images.sh has run for two minutes"
engine_has=$(present)

mapfile -t absent < <(for tag in "${public[@]}"; do known "$tag" || echo "$tag"; done)
if [ ${#absent[@]} -gt 0 ]; then
    pull_all "${absent[@]}" 9>&-
    engine_has=$(present)
fi
mapfile -t todo < <(missing "${public[@]}" "${made[@]}")
[ ${#todo[@]} -gt 0 ] || exit 0

check_architecture
work=$(mktemp -d "${TMPDIR:-/tmp}/oneoff-images.XXXXXX")
trap 'rm -rf "$work"' EXIT
sh "$here/rootfs.sh" "$busybox" "$work"
for tag in "${todo[@]}"; do make_image "$tag"; done
