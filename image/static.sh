#!/usr/bin/env bash
# Builds the program as it is in the image, with nothing to be loaded at run time; takes cargo's flags (--release).
#
# The flags are for the last step alone, where the C library comes in: everything else is what other builds have. There glibc
# is linked into a program that looks up names by itself (2.34 and newer), without the files of a distribution. Its
# relocations are packed, which takes 0.8 MB off; the program unpacks them itself.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo rustc --quiet --locked --features lane-filter --bin lanekeeper "$@" -- \
    -C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs
