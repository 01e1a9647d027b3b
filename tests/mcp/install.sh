#!/bin/sh
# Installs the pinned MCP clients that tests/it/mcp runs, into target/mcp-clients.
# Idempotent: a set that is already there at these versions is left alone. Uses pip and npm as they are configured.
set -eu

PYTHON_NEW="mcp==2.3.0"
PYTHON_OLD="mcp==1.30.0"
TYPESCRIPT="@modelcontextprotocol/sdk@1.32.2"
MCP_REMOTE="mcp-remote@0.15.1"
SUPERGATEWAY="supergateway@4.0.0"
NODE="node@22.23.3"
CONFORMANCE="@modelcontextprotocol/conformance@0.1.16"
CONFORMANCE_ALPHA="@modelcontextprotocol/conformance@0.2.0-alpha.12"

root=$(cd "$(dirname "$0")/../.." && pwd)
target="${MCP_CLIENTS_DIR:-${CARGO_TARGET_DIR:-$root/target}/mcp-clients}"
mkdir -p "$target"
# npm and venv as Debian packages them, where they are missing.
"$root/tests/support/packages.sh" python3 npm
python3 -c 'import ensurepip, venv' 2>/dev/null || "$root/tests/support/packages.sh" python3-venv
# Two test runs at once install once.
exec 9>"$target/.lock"
flock 9

# Runs `install` in $target/$1 unless the stamp there already names exactly these packages.
once() {
    name=$1
    shift
    stamp="$target/$name/.installed"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$*" ]; then
        return 0
    fi
    echo "installing $name: $*" >&2
    rm -rf "${target:?}/$name"
    mkdir -p "$target/$name"
    case $name in
        python-*) install_python "$target/$name" "$@" ;;
        *) install_node "$target/$name" "$@" ;;
    esac
    echo "$*" > "$stamp"
}

install_python() {
    dir=$1
    shift
    python3 -m venv "$dir"
    "$dir/bin/pip" install --quiet --disable-pip-version-check "$@"
}

install_node() {
    dir=$1
    shift
    printf '{"private": true, "type": "module"}\n' > "$dir/package.json"
    (cd "$dir" && npm install --silent --no-audit --no-fund --no-package-lock --no-update-notifier "$@")
}

once python-new "$PYTHON_NEW"
once python-old "$PYTHON_OLD"
once typescript "$NODE" "$TYPESCRIPT"
once bridges "$NODE" "$MCP_REMOTE" "$SUPERGATEWAY"
once conformance "$NODE" "$CONFORMANCE"
once conformance-alpha "$NODE" "$CONFORMANCE_ALPHA"
