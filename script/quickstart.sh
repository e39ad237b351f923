#!/usr/bin/env bash
# From nothing to the main job: makes .venv (script/setup.sh), then pretrains, fine-tunes, evaluates and embeds the
# bundled real structures and writes runs/quickstart/report.html: about five minutes on two cores after set-up.
#
#     bash script/quickstart.sh [--force] [--seeds N] [--out DIR]
#
# A second run keeps what is finished. Arguments go to script/quickstart.py; `--help` lists them.
set -euo pipefail
unset CDPATH  # with it, `cd` may go elsewhere and prints where

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
bash "$root/script/setup.sh"
exec "$root/.venv/bin/python" "$root/script/quickstart.py" "$@"
