#!/bin/bash
# Installs schemathesis, pinned, into target/schemathesis. Quick when it is there. Uses pip as it is configured.
set -euo pipefail

package=schemathesis==4.32.5
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$here/../../target/schemathesis

[ "$(cat "$target/.installed" 2>/dev/null || true)" != "$package" ] || exit 0
"$here/packages.sh" python3
python3 -c 'import ensurepip, venv' 2>/dev/null || "$here/packages.sh" python3-venv

echo "schemathesis: installing $package" >&2
rm -rf "$target"
python3 -m venv "$target"
"$target/bin/pip" install --quiet --disable-pip-version-check "$package"
echo "$package" >"$target/.installed"
