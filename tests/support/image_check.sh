#!/bin/bash
# Proves the image: started as the README says, with nothing but the socket, it serves runs, directories and volumes;
# its health check answers; it stops cleanly; without root it works as well.
# Usage: image_check.sh [IMAGE]   (ONEOFF_CHECK_PORT for a port other than 8223)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
image=${1:-oneoff-docker-runner:latest}
port=${ONEOFF_CHECK_PORT:-8223}
socket=/var/run/docker.sock
export DOCKER_CONTEXT=default
"$here/packages.sh" curl
# shellcheck source=tests/support/quickstart.sh
. "$here/quickstart.sh"

work=$(mktemp -d "${TMPDIR:-/tmp}/oneoff-image-check.XXXXXX")
url=http://127.0.0.1:$port
name=oneoff-image-check-$$
volume=oneoff-image-check-$$

clean_up() {
    local status=$?
    if [ $status -ne 0 ]; then docker logs --tail 30 "$name" >&2 2>/dev/null || true; fi
    docker rm -f "$name" >/dev/null 2>&1 || true
    docker volume rm -f "$volume" >/dev/null 2>&1 || true
    rm -rf "$work"
    exit $status
}
trap clean_up EXIT

is_up() { [ "$(docker inspect --format '{{.State.Running}}' "$name" 2>/dev/null)" = true ]; }

start() { # [docker run options]
    docker run -d --name "$name" -p "$port:8000" -v "$socket:/var/run/docker.sock" "$@" "$image" >/dev/null
    instance=$(docker inspect --format '{{.Config.Hostname}}' "$name"):8000
    wait_for_health 20 is_up
}

stop() {
    docker stop --time 20 "$name" >/dev/null
    local status
    status=$(docker inspect --format '{{.State.ExitCode}}' "$name")
    docker rm "$name" >/dev/null
    [ "$status" = 0 ] || fail "ended with $status after SIGTERM"
    expect_nothing_left "$instance"
}

hello() {
    write_hello_request
    post /run "$work/hello.json"
    expect_hello
    echo "ok  $1: hello"
}

data() {
    write_data_request
    post /run "$work/data.json"
    expect_data
    echo "ok  $1: a directory and a script in, the directory back"
}

named_volume() {
    mkdir -p "$work/seed"
    echo "from the archive" >"$work/seed/seeded.txt"
    printf '{"name": "%s", "content": "%s"}' "$volume" "$(tar -czf - -C "$work" seed | base64 -w 0)" >"$work/volume.json"
    post /volume "$work/volume.json"
    expect_code 200
    expect_in_answer '"status":"success"'

    printf '{"image": "alpine:latest", "command": ["cat", "/v/seeded.txt"], "pull_policy": "never",
             "volumes": {"/v:ro": {"type": "volume", "name": "%s"}}}' "$volume" >"$work/use.json"
    post /run "$work/use.json"
    expect_code 200
    expect_in_answer '"stdout":"from the archive\n"'

    local reply
    reply=$(call GET "/volume/$volume")
    code=${reply##*$'\n'} answer=${reply%$'\n'*}
    expect_code 200
    unpack_answer "$work/volume"
    grep -qx "from the archive" "$work/volume/seeded.txt" || fail "seeded.txt is not in the volume"

    # the run that used it is removed behind its answer
    local attempt
    for attempt in $(seq 20); do
        reply=$(call DELETE "/volume/$volume")
        code=${reply##*$'\n'} answer=${reply%$'\n'*}
        if [ "$code" != 409 ] || [ "$attempt" = 20 ]; then break; fi
        sleep 0.2
    done
    expect_code 204
    echo "ok  $1: a volume filled, used, read back and deleted"
}

health_check() {
    docker exec "$name" /oneoff-docker-runner healthcheck >/dev/null || fail "healthcheck says unhealthy"
    echo "ok  $1: healthcheck"
}

start
hello "as root"
data "as root"
named_volume "as root"
health_check "as root"
stop
echo "ok  as root: stopped, nothing left"

start --user "65532:$(stat -c %g "$socket")"
hello "as 65532"
data "as 65532"
health_check "as 65532"
stop
echo "ok  as 65532: stopped, nothing left"
