#!/usr/bin/env bash
# Fuzzes each target for $FUZZ_SECONDS seconds, from the tests' and the examples' files on. Arguments: the targets, else all.
set -euo pipefail
cd "$(dirname "$0")/.."

rustup run nightly rustc --version > /dev/null 2>&1 || rustup toolchain install nightly --profile minimal
command -v cargo-fuzz > /dev/null || cargo install --locked cargo-fuzz

mkdir -p fuzz/corpus/{read,edit,review,rules,headers}
git ls-files -z 'tests/*.yaml' 'examples/*.yaml' 'manifests/*.yaml' | while IFS= read -r -d '' file; do
    seed=${file//\//-}
    cp "$file" "fuzz/corpus/read/$seed"
    { echo "0${#seed}x"; cat "$file"; } > "fuzz/corpus/edit/$seed"
done
cp fuzz/seeds/review/* fuzz/corpus/review/
cp fuzz/seeds/headers/* fuzz/corpus/headers/

[ $# -gt 0 ] || set -- read edit review rules headers
for target in "$@"; do
    # What is fuzzed has no unsafe code of its own; without a sanitizer ten times as much is tried.
    cargo +nightly fuzz run --release --sanitizer none "$target" -- \
        -max_total_time="$FUZZ_SECONDS" -timeout=10 -max_len=16384 -print_final_stats=1
done
