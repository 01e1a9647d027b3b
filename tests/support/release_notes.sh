#!/bin/bash
# Prints the section of CHANGELOG.md for a version, without its heading. Fails if there is none.
# Usage: release_notes.sh VERSION
set -euo pipefail

version=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
notes=$(awk -v heading="## [$version]" '
    index($0, "## [") == 1 { inside = index($0, heading) == 1; next }
    inside' "$here/../../CHANGELOG.md")
if [ -z "${notes//[[:space:]]/}" ]; then
    echo "CHANGELOG.md has no section for $version" >&2
    exit 1
fi
printf '%s\n' "$notes"
