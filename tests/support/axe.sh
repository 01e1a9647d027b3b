#!/bin/bash
# Gets axe-core, which finds what keeps people from using a page, into target/tools. Uses npm as it is configured.
set -euo pipefail

VERSION=4.14.1

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$here/../../target/tools
script=$tools/axe-$VERSION.min.js

if [ ! -f "$script" ]; then
    "$here/packages.sh" npm
    mkdir -p "$tools"
    work=$(mktemp -d "${TMPDIR:-/tmp}/oneoff-axe.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "axe: downloading axe-core $VERSION" >&2
    (cd "$work" && npm pack --silent --no-update-notifier "axe-core@$VERSION" >/dev/null && tar -xzf "axe-core-$VERSION.tgz" package/axe.min.js)
    mv "$work/package/axe.min.js" "$script"
fi
ln -sf "axe-$VERSION.min.js" "$tools/axe.js"
