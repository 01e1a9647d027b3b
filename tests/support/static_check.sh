#!/bin/bash
# Proves that a binary is static: it asks for no interpreter and no library, and starts. Prints its path and size.
set -euo pipefail

binary=$1
fail() {
    echo "$binary is not static: $1" >&2
    exit 1
}

if ! command -v readelf >/dev/null; then
    echo "readelf (package binutils) is needed to check $binary" >&2
    exit 1
fi
headers=$(readelf --wide --program-headers "$binary")
dynamic=$(readelf --wide --dynamic "$binary")
! grep -q INTERP <<<"$headers" || fail "it needs the loader $(grep -o '/[^]]*ld[^]]*' <<<"$headers" | head -n 1)"
! grep -q '(NEEDED)' <<<"$dynamic" || fail "it needs $(grep '(NEEDED)' <<<"$dynamic" | grep -o '\[.*\]' | tr '\n' ' ')"
# A C library that is too old for how it was linked would crash here.
"$binary" --version >/dev/null || fail "it does not start"

bytes=$(stat -c %s "$binary")
printf '%s  %d.%02d MB  static (no interpreter, no library)\n' \
    "$binary" $((bytes / 1000000)) $((bytes % 1000000 / 10000))
