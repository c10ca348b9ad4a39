#!/usr/bin/env bash
# Builds the fuzz targets and runs each for SECONDS_EACH (50; with `--long`, an hour for the wire
# and for HTTP, 20 minutes for the others), from the corpus that is committed. What `--long` finds
# new is kept there, and the corpus made as small as it can be.
# Usage: fuzz-smoke.sh [--long] [TARGET...]    (all by default)
#
# A short run searches in the same order each time (SEED, 1 by default), so that a merge is not red by
# chance; the long one is there to find what is new.
#
# Works with the stable toolchain and without cargo-fuzz, whose installation takes longer than the runs: the
# flags are those of `cargo fuzz run -s none`. The address sanitizer stays out, since it needs a nightly
# compiler; the crate has no `unsafe`, so little is lost.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'fuzz-smoke: %s\n' "$*" >&2; }

# libFuzzer itself is C++.
if ! command -v c++ >/dev/null 2>&1; then
  say "no C++ compiler (c++); install one: apt-get install g++"
  exit 1
fi

long=false
if [ "${1:-}" = --long ]; then
  long=true
  shift
fi
targets=()
for source in fuzz/fuzz_targets/*.rs; do
  targets+=("$(basename "$source" .rs)")
done
if [ $# = 0 ]; then
  set -- "${targets[@]}"
fi
for name; do
  if [ ! -e "fuzz/fuzz_targets/$name.rs" ]; then
    say "unknown target '$name'; there are: ${targets[*]}"
    exit 2
  fi
done
# seconds_of TARGET
seconds_of() {
  case $long,$1 in
    false,*) echo "${SECONDS_EACH:-50}" ;;
    true,conn | true,decode | true,http) echo "${SECONDS_EACH:-3600}" ;;
    true,*) echo "${SECONDS_EACH:-1200}" ;;
  esac
}

target_dir=$PWD/fuzz/target/smoke
host=$(rustc -vV | sed -n 's/^host: //p')
flags=(
  --cfg fuzzing
  -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares
  -Ccodegen-units=1
)

say "building"
# With `--target` the flags don't reach build scripts, which could not be linked with them.
RUSTFLAGS="${flags[*]}" cargo build --locked --manifest-path fuzz/Cargo.toml --release \
  --target "$host" --target-dir "$target_dir" --bins

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
artifacts=$PWD/fuzz/artifacts
for name; do
  seconds=$(seconds_of "$name")
  options=(-max_total_time="$seconds" -max_len=4096 -verbosity=1 -print_final_stats=1)
  options+=(-artifact_prefix="$artifacts/$name/")
  if ! $long; then
    options+=(-seed="${SEED:-1}")
  fi
  if [ -f "fuzz/$name.dict" ]; then
    options+=(-dict="fuzz/$name.dict")
  fi
  corpus=$PWD/fuzz/corpus/$name
  mkdir -p "$work/$name" "$artifacts/$name" "$corpus"
  say "running $name for $seconds s"
  log=$work/$name.log
  if ! "$target_dir/$host/release/$name" "${options[@]}" "$work/$name" "$corpus" >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    say "$name found something; its input is in fuzz/artifacts/$name/"
    exit 1
  fi
  grep -E '^(Done|stat::number_of_executed_units)' "$log" >&2
  if $long; then
    mkdir "$work/$name.least"
    # The fewest inputs that reach every line that any of them reaches; how often does not count.
    "$target_dir/$host/release/$name" -set_cover_merge=1 -use_counters=0 -max_len=4096 \
      "$work/$name.least" "$work/$name" "$corpus" >>"$log" 2>&1
    rm -rf "$corpus"
    mv "$work/$name.least" "$corpus"
  fi
done
say "found nothing"
