#!/bin/bash
# Sourced by demo.sh and image_check.sh: the requests of the quick start, and what their answers must be.
# JSON is taken apart with sed, so that nothing but curl is needed. The caller sets $url and $work.
# shellcheck disable=SC2154

bold() { if [ -t 1 ]; then printf '\033[1m%s\033[0m\n' "$*"; else printf '%s\n' "$*"; fi; }
fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

free_port() {
    local port
    for port in $(shuf -i 20000-32000 -n 50); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || {
            echo "$port"
            return
        }
    done
    fail "no free port between 20000 and 32000"
}

call() { # METHOD PATH [curl options]
    local method=$1 path=$2
    shift 2
    curl --noproxy '*' -sS --max-time 120 -X "$method" -w '\n%{http_code}' "$@" "$url$path"
}

# Posts the JSON in the file $2; leaves the answer in $answer, the status code in $code.
post() { # PATH FILE
    local reply
    reply=$(call POST "$1" -H 'Content-Type: application/json' --data-binary "@$2")
    code=${reply##*$'\n'}
    answer=${reply%$'\n'*}
}

# For people: long base64 is cut.
shorten() { sed -E 's#"([A-Za-z0-9+/=]{24})[A-Za-z0-9+/=]{60,}"#"\1..."#g'; }

# For comparing: the answer in one line, without spaces between tokens.
compact() { tr -d '\n' | sed -E 's/("|[0-9]|\}|\]|null|true|false) *([,:}]) *("|\{|\[)?/\1\2\3/g; s/([{[]) *"/\1"/g'; }

expect_code() { [ "$code" = "$1" ] || fail "expected HTTP $1, got $code: $(shorten <<<"$answer")"; }
expect_in_answer() { # TEXT...
    local text
    for text in "$@"; do
        grep -qF -- "$text" <<<"$(compact <<<"$answer")" || fail "$text is not in the answer: $(shorten <<<"$answer")"
    done
}

# The only "content" of the answer, decoded and unpacked into $1.
unpack_answer() {
    local content
    content=$(compact <<<"$answer" | sed -nE 's/.*"content":"([^"]*)".*/\1/p')
    [ -n "$content" ] || fail "the answer holds no archive: $(shorten <<<"$answer")"
    mkdir -p "$1"
    base64 -d <<<"$content" | tar -xzf - -C "$1" || fail "the returned archive is not a base64 tar.gz"
}

wait_for_health() { # SECONDS COMMAND-THAT-SAYS-IT-STILL-RUNS...
    local deadline=$((SECONDS + $1))
    shift
    until curl --noproxy '*' -fsS --max-time 3 "$url/health" >"$work/health" 2>/dev/null; do
        "$@" || fail "the server ended before it answered"
        [ $SECONDS -lt $deadline ] || fail "no healthy answer from $url/health: $(cat "$work/health" 2>/dev/null)"
        sleep 0.05
    done
}

# Containers and volumes of one server instance, waiting a little: what an answer leaves is removed behind it. A server that runs has
# a volume with the program that is PID 1 in its containers.
expect_nothing_left() { # INSTANCE [PATTERN-OF-WHAT-MAY-BE-THERE]
    local deadline=$((SECONDS + 10)) left
    while true; do
        left=$(
            docker ps -aq --filter "label=oneoff.instance=$1"
            docker volume ls -q --filter "label=oneoff.instance=$1" | grep -Eve "${2:-^$}" || true
        )
        [ -n "$left" ] || return 0
        [ $SECONDS -lt $deadline ] || fail "still in the engine after 10 s: $left"
        sleep 0.1
    done
}

write_hello_request() {
    cat >"$work/hello.json" <<'JSON'
{"image": "alpine:latest",
 "command": ["echo", "Hello, World!"],
 "env_vars": {"MY_VAR": "value"},
 "pull_policy": "never"}
JSON
}

expect_hello() {
    expect_code 200
    expect_in_answer '"status":"success"' '"exit_code":0' '"stdout":"Hello, World!\n"'
}

# A directory that the run may write to, and a script that writes there.
write_data_request() {
    mkdir -p "$work/data"
    echo "I was here before" >"$work/data/input.txt"
    cat >"$work/data.json" <<JSON
{"image": "alpine:latest",
 "command": ["/test.sh"],
 "pull_policy": "never",
 "volumes": {
   "/app/data": {"type": "directory", "response": true,
                 "content": "$(tar -czf - -C "$work/data" . | base64 -w 0)"},
   "/test.sh:ro": {"type": "file", "mode": "0755",
                   "content": "IyEvYmluL2FzaAoKZWNobyAiSGVsbG8sIFdvcmxkISIgPiAvYXBwL2RhdGEvdGVzdC50eHQ="}}}
JSON
}

expect_data() {
    expect_code 200
    expect_in_answer '"status":"success"' '"/app/data":{'
    rm -rf "$work/returned"
    unpack_answer "$work/returned"
    [ "$(cat "$work/returned/test.txt" 2>/dev/null)" = "Hello, World!" ] || fail "test.txt did not come back"
    cmp -s "$work/data/input.txt" "$work/returned/input.txt" || fail "input.txt did not come back as it went in"
}
