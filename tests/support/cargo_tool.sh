#!/bin/bash
# Installs a cargo subcommand, pinned, into target/tools. Quick when it is there. Usage: cargo_tool.sh cargo-deny@0.20.2
set -euo pipefail

package=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$here/../../target/tools

[ "$(cat "$tools/.${package%@*}" 2>/dev/null || true)" != "$package" ] || exit 0
echo "${package%@*}: installing $package, which takes some minutes" >&2
# as a program of its own: what is set for the project's build does not count for it
env -u RUSTFLAGS -u RUSTC_WRAPPER -u CARGO_TARGET_DIR cargo install --quiet --locked --force --root "$tools" "$package"
echo "$package" >"$tools/.${package%@*}"
