#!/bin/bash
# `make demo`: starts the server, runs two containers from two HTTP requests, shows what came back and that nothing is
# left. Ends with 0 only if everything was as it must be.
# Usage: demo.sh BINARY
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=$(realpath "$1")
"$here/packages.sh" curl
# shellcheck source=tests/support/quickstart.sh
. "$here/quickstart.sh"

work=$(mktemp -d "${TMPDIR:-/tmp}/oneoff-demo.XXXXXX")
port=$(free_port)
url=http://127.0.0.1:$port
instance=demo-$port
server=

clean_up() {
    local status=$?
    if [ -n "$server" ] && kill -0 "$server" 2>/dev/null; then
        kill "$server" 2>/dev/null || true
        wait "$server" || true
    fi
    if [ $status -ne 0 ] && [ -s "$work/server.log" ]; then
        echo "The end of the server's log:" >&2
        tail -n 30 "$work/server.log" >&2
    fi
    rm -rf "$work"
    exit $status
}
trap clean_up EXIT

is_up() { kill -0 "$server" 2>/dev/null; }

# nobody's settings but our own; started where there is no .env
unset AUTH_TOKEN "${!RUNNER_@}"
export HOST=127.0.0.1 PORT=$port RUNNER_INSTANCE=$instance

bold "Starting the server at $url"
cd "$work"
"$binary" >"$work/server.log" 2>&1 &
server=$!
wait_for_health 15 is_up
cat "$work/health"
printf '\n\n'

bold "1. A container from one request"
write_hello_request
echo "curl -X POST $url/run -H 'Content-Type: application/json' -d '$(cat hello.json)'"
post /run hello.json
shorten <<<"$answer"
echo
expect_hello

bold "2. A directory and a script go in, the directory comes back"
write_data_request
echo "curl -X POST $url/run -H 'Content-Type: application/json' -d '$(shorten <data.json)'"
post /run data.json
shorten <<<"$answer"
expect_data
echo
bold "The returned archive:"
(cd returned && find . -type f | sort | while read -r file; do echo "$file: $(cat "$file")"; done)
echo

bold "3. Nothing of them is left in the engine"
expect_nothing_left "$instance" '-init$'
echo "docker ps -a     --filter label=oneoff.instance=$instance   -> nothing"
echo "docker volume ls --filter label=oneoff.instance=$instance   -> only the program that is PID 1, until the server stops"
echo

kill -TERM "$server"
for _ in $(seq 150); do
    is_up || break
    sleep 0.1
done
! is_up || fail "the server ignored SIGTERM for 15 s"
stopped=0
wait "$server" || stopped=$?
server=
[ $stopped -eq 0 ] || fail "the server ended with $stopped after SIGTERM"
expect_nothing_left "$instance"
bold "The server stopped on SIGTERM. Everything was as it should be."
