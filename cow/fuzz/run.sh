#!/bin/bash
# Runs one fuzzer for so many seconds, beginning with the corpus of seeds/. What it finds new stays in
# corpus/, an input that makes something panic in artifacts/ (cargo fuzz says how to see it again).
#
#   cow/fuzz/run.sh TARGET SECONDS        frame manifest segment record checkpoint digests layer store; all
#   cow/fuzz/run.sh minimize              keeps of corpus/ and seeds/ what covers something of its own, in seeds/
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
targets="frame manifest segment record checkpoint digests layer store"
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
  echo "fuzz: needs a nightly compiler (rustup toolchain install nightly) and cargo-fuzz (cargo install cargo-fuzz --locked)" >&2
  exit 1
fi

run() { # TARGET SECONDS
  mkdir -p "corpus/$1"
  cargo +nightly fuzz run -s none --fuzz-dir . "$1" "corpus/$1" "seeds/$1" -- \
    -max_total_time="$2" -max_len=16384 -rss_limit_mb=2048 -timeout=20 -print_final_stats=1
}
minimize() { # TARGET: with names that say nothing but the content
  local old=seeds/$1.old
  rm -rf "$old"; mv "seeds/$1" "$old"; mkdir -p "seeds/$1" "corpus/$1"
  cargo +nightly fuzz run -s none --fuzz-dir . "$1" "seeds/$1" "$old" "corpus/$1" -- -merge=1 -max_len=4096
  rm -rf "$old"
}

case ${1:-} in
  minimize) for target in ${2:-$targets}; do minimize "$target"; done ;;
  all) for target in $targets; do run "$target" "${2:-60}"; done ;;
  *) run "${1:-store}" "${2:-60}" ;;
esac
