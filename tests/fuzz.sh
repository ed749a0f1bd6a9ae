#!/bin/bash
# Runs one fuzzer of a room for so many seconds, beginning with the corpus of its fuzz/seeds. What it finds new stays in
# fuzz/corpus, an input that makes something panic in fuzz/artifacts (cargo fuzz says how to see it again).
#
#   tests/fuzz.sh ROOM TARGET SECONDS     ROOM: cow, iscsi or scsi; TARGET: one of fuzz/fuzz_targets, or all
#   tests/fuzz.sh ROOM minimize [TARGET]  keeps of corpus and seeds what covers something of its own, in seeds
#
# FAST=1 leaves out the instrumentation of comparisons: half as many instructions for each input, less guidance.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
corpus_of="$root/tests/rig/corpus.py"
room=${1:-} what=${2:-}
cd "$root/$room/fuzz" 2>/dev/null || { echo "fuzz: no fuzzers in \`$room\`; there are some in cow, iscsi and scsi" >&2; exit 2; }
targets=$(find fuzz_targets -name '*.rs' -printf '%f\n' | sed 's/\.rs$//' | sort)
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
  echo "fuzz: needs a nightly compiler (rustup toolchain install nightly) and cargo-fuzz (cargo install cargo-fuzz --locked)" >&2
  exit 1
fi
build=(-s none --fuzz-dir .)
[ "${FAST:-}" = 1 ] && build+=(--no-trace-compares)
# A store is an archive of files; what a peer sends is short.
longest=1024
[ "$room" = cow ] && longest=16384

prepare() { # TARGET: seeds are a directory of inputs, or a file of many
  mkdir -p "corpus/$1"
  if [ -f "seeds/$1" ]; then "$corpus_of" unpack "seeds/$1" "corpus/$1"; fi
}
run() { # TARGET SECONDS
  local dirs=("corpus/$1")
  prepare "$1"
  [ -d "seeds/$1" ] && dirs+=("seeds/$1")
  cargo +nightly fuzz run "${build[@]}" "$1" "${dirs[@]}" -- \
    -max_total_time="$2" -max_len="$longest" -rss_limit_mb=2048 -timeout=20 -print_final_stats=1
}
minimize() { # TARGET: with names that say nothing but the content
  local all=corpus/$1.all kept=corpus/$1.kept
  prepare "$1"
  rm -rf "$all" "$kept"; mkdir -p "$all" "$kept"
  cp -r "corpus/$1/." "$all/"
  [ -d "seeds/$1" ] && cp -r "seeds/$1/." "$all/"
  cargo +nightly fuzz run "${build[@]}" "$1" "$kept" "$all" -- -merge=1 -max_len=4096
  if [ -d "seeds/$1" ]; then
    rm -rf "seeds/$1"; mv "$kept" "seeds/$1"
  else
    mkdir -p seeds; "$corpus_of" pack "$kept" "seeds/$1"; rm -rf "$kept"
  fi
  rm -rf "$all"
}

case $what in
  minimize) for target in ${3:-$targets}; do minimize "$target"; done ;;
  all) for target in $targets; do run "$target" "${3:-60}"; done ;;
  *)
    if ! grep -qxF -- "$what" <<<"$targets"; then
      echo "fuzz: no target $what in $room/fuzz; there are: ${targets//$'\n'/ }" >&2
      exit 2
    fi
    run "$what" "${3:-60}" ;;
esac
