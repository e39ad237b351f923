#!/usr/bin/env bash
# Sets up what is missing, then runs the linter and the tests: about five minutes on two cores.
#
#     bash script/test.sh [--full] [arguments of pytest]
#
# --full adds the tests marked `slow`. Everything else goes to pytest: `-x`, `-k reader`, `test/test_reader.py`.
set -euo pipefail
unset CDPATH  # with it, `cd` may go elsewhere and prints where

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
python="$root/.venv/bin/python"

selection=()
arguments=()
for argument in "$@"; do
    if [ "$argument" = --full ]; then selection=(-m ""); else arguments+=("$argument"); fi
done

bash "$root/script/setup.sh"
setup_seconds=$SECONDS

# below the root, so that paths given as arguments and pytest's settings are found
cd "$root"
# The graphs of the tests are small: a second thread costs more than it brings, and the workers of distributed
# tests would fight for the cores.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

SECONDS=0
"$python" -m ruff check .
ruff_seconds=$SECONDS

SECONDS=0
code=0
"$python" -m pytest ${selection[@]+"${selection[@]}"} ${arguments[@]+"${arguments[@]}"} || code=$?
printf 'script/test.sh: set-up %d s, linter %d s, tests %d s\n' "$setup_seconds" "$ruff_seconds" "$SECONDS"
exit "$code"
