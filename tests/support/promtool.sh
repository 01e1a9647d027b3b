#!/bin/bash
# Gets promtool into target/tools, out of Debian's prometheus package, which is not installed: it would start a daemon.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$here/../../target/tools

[ ! -x "$tools/promtool" ] || exit 0
mkdir -p "$tools"
if command -v promtool >/dev/null; then
    ln -sf "$(command -v promtool)" "$tools/promtool"
    exit 0
fi
command -v apt-get >/dev/null || { echo "promtool: please install Prometheus' promtool" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/oneoff-promtool.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
download() { apt-get -o APT::Sandbox::User=root -o Acquire::Retries=2 download prometheus >log 2>&1; }
echo "promtool: downloading Debian's prometheus package" >&2
# lists that are older than the archive name files that are gone
download || { apt-get update >log 2>&1 && download; } || { tail -n 20 log >&2; exit 1; }
dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
mv usr/bin/promtool "$tools/promtool"
