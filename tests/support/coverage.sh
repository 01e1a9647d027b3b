#!/bin/bash
# Measures which lines of src/ the tests reach, those of the servers that they start and kill included. Prints a table by file, or
# what `cargo llvm-cov report` makes of the arguments. Everything is in target/coverage. Tests that fail are reported, and what
# they reached counts.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"

"$here/cargo_tool.sh" cargo-llvm-cov@0.9.1
export PATH=$root/target/tools/bin:$PATH CARGO_TARGET_DIR=$root/target/coverage
if ! cargo llvm-cov show-env --sh >/dev/null 2>&1; then
    rustup component add llvm-tools >&2
fi
eval "$(cargo llvm-cov show-env --sh 2>/dev/null)"

# Counters live in the file itself (%c), so that a server that is killed has written them; processes share 4 files (%4m). The
# directory is open to all, since some tests start a server as another user.
export RUSTFLAGS="${RUSTFLAGS:-} -C llvm-args=-runtime-counter-relocation"
profiles=$CARGO_TARGET_DIR/profiles
rm -rf "$profiles"
mkdir -p "$profiles"
chmod 1777 "$profiles"
export LLVM_PROFILE_FILE=$CARGO_TARGET_DIR/build-%p.profraw
cargo test --no-run
LLVM_PROFILE_FILE="$profiles/%4m%c.profraw" cargo test --no-fail-fast || echo "coverage: some tests failed" >&2

rm -f "$CARGO_TARGET_DIR"/build-*.profraw
mv "$profiles"/*.profraw "$CARGO_TARGET_DIR"
cargo llvm-cov report --lcov --output-path "$CARGO_TARGET_DIR/lcov.info"
if [ $# -gt 0 ]; then
    exec cargo llvm-cov report "$@"
fi
"$here/coverage_table.sh" "$CARGO_TARGET_DIR/lcov.info"
