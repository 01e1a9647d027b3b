#!/bin/bash
# `make image`: the image from a static binary that is already built.
# Usage: image.sh BINARY IMAGE VERSION REVISION   (SOURCE=<url> adds the label of that name)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
binary=$1 image=$2 version=${3:-dev} revision=${4:-unknown}
context=$root/target/image

rm -rf "$context"
mkdir -p "$context"
ln "$binary" "$context/oneoff-docker-runner" 2>/dev/null || cp "$binary" "$context/oneoff-docker-runner"
{
    sed '/^# --- /,$d' "$root/Dockerfile"
    echo 'COPY oneoff-docker-runner /oneoff-docker-runner'
} >"$context/Dockerfile"

labels=()
[ -z "${SOURCE:-}" ] || labels+=(--label "org.opencontainers.image.source=$SOURCE")
old=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null || true)
log=$(mktemp "${TMPDIR:-/tmp}/oneoff-image.XXXXXX")
trap 'rm -f "$log"' EXIT
if ! docker build --tag "$image" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
    "${labels[@]}" "$context" >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
new=$(docker image inspect --format '{{.Id}}' "$image")
# the image that had this name before would stay behind untagged
[ -z "$old" ] || [ "$old" = "$new" ] || docker image rm "$old" >/dev/null 2>&1 || true

echo "$image  $(docker image inspect --format '{{.Os}}/{{.Architecture}}  {{.Size}} bytes' "$image")"
