#!/usr/bin/env bash
# Makes .venv in the root of the repository and installs everything there: PyTorch, TorchDrug and this package.
# It needs Python 3.10 or newer and no compiler. A second run finds nothing to do; a run that was interrupted is
# started again.
#
#     bash script/setup.sh
#
# PYTHON      the Python to use, e.g. PYTHON=python3.12. Without it: python3, or the newest that is found.
# TORCH_SPEC  another PyTorch than script/constraints.txt names, as one writes it after `pip install`,
#             e.g. TORCH_SPEC="torch==2.11.0 --index-url <the index of the CUDA or CPU builds>".
#             It is kept for later runs, until .venv is removed or another one is given.
set -euo pipefail
unset CDPATH  # with it, `cd` may go elsewhere and prints where

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
venv="$root/.venv"
state="$venv/gearnet-setup"  # what this script knows of .venv: lines of name=value
torchdrug="torchdrug==0.2.1"
step=""

say() { printf 'set-up: %s\n' "$*"; }
stop() { step=""; printf 'set-up: %s\n' "$@" >&2; exit 2; }
recorded() { [ ! -f "$state" ] || sed -n "s/^$1=//p" "$state"; }

# "<major>.<minor> <where it is installed>": the same for a Python and for the virtual environments made of it
identity() { "$1" -c 'import sys; print("%d.%d %s" % (*sys.version_info[:2], sys.base_prefix))' 2>/dev/null; }
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

explain() {
    local code=$?
    [ "$code" -ne 0 ] && [ -n "$step" ] || return 0
    {
        say "stopped at \"$step\" (exit code $code)."
        say "The same command starts again, with the downloads that pip has kept."
        [ "$code" -lt 128 ] || return 0  # interrupted: nobody has to look for a reason
        say "If the error above speaks of"
        say "  a connection, a time-out or a proxy: check the network; set HTTPS_PROXY where there is a proxy."
        say "      Without a network, give a folder of wheels: PIP_NO_INDEX=1 PIP_FIND_LINKS=<folder>."
        say "  no matching distribution: there is no ready-made package for this Python or platform. Choose another"
        say "      Python (PYTHON=python3.11) or PyTorch (TORCH_SPEC), or let pip compile (PIP_ONLY_BINARY=:none:)."
        say "  no space left: a CPU build of PyTorch takes 1 GB, one with CUDA 8 GB; TORCH_SPEC chooses."
    } >&2
}
trap explain EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

choose_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null || stop "PYTHON=$PYTHON is not found. Give a path, or leave it out."
        new_enough "$PYTHON" || stop "PYTHON=$PYTHON is not a Python that runs, of 3.10 or newer; it says:" \
                                     "$("$PYTHON" --version 2>&1)"
        python="$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python3.10; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            python="$candidate"
            return
        fi
    done
    stop "needs Python 3.10 or newer, and finds $(python3 --version 2>/dev/null || echo none)." \
         "Install one (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python;" \
         "elsewhere conda, uv or Python's own installer), or say where it is:" \
         "PYTHON=<path> bash script/setup.sh"
}

check_venv_module() {
    "$python" -c 'import venv, ensurepip' 2>/dev/null || stop \
        "$("$python" --version) at $(command -v "$python") lacks the modules venv and ensurepip." \
        "Debian and Ubuntu keep them apart: apt-get install python3-venv (for a Python that is not the system's:" \
        "python3.<minor>-venv). Or choose another Python: PYTHON=<path> bash script/setup.sh"
}

write_state() {
    printf '%s\n' "status=$1" "process=$$" "root=$root" "python=$wanted_python" \
        "torch_spec=$installed_spec" "files=$files" >"$state"
}

run_step() {
    step="$1"
    shift
    local began=$SECONDS
    say "$step ..."
    "$@"
    say "$step: $((SECONDS - began)) s"
    step=""
}

# Wheels only: nothing is compiled. No warning of conflicts: TorchDrug's metadata always has some, see setup.py.
export PIP_ONLY_BINARY="${PIP_ONLY_BINARY-:all:}" PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
pip_install() { "$venv/bin/python" -m pip install --no-warn-conflicts "$@"; }

install_torch() {
    local words=(-c "$root/script/constraints.txt" torch)
    [ -z "$torch_spec" ] || read -r -a words <<<"$torch_spec"
    pip_install -qq "setuptools>=77"
    # minutes of download with CUDA: whoever watches sees how far it is
    if [ -t 1 ]; then pip_install "${words[@]}"; else pip_install -qq "${words[@]}"; fi
    # from now on torch is what is installed, whatever another package would like better
    {
        grep -v '^torch==' "$root/script/constraints.txt"
        "$venv/bin/python" -c 'from importlib.metadata import version; print("torch==" + version("torch"))'
    } >"$venv/constraints.txt"
}

install_package() {
    cd "$root"
    pip_install -qq -c "$venv/constraints.txt" --no-build-isolation --use-pep517 -e ".[test]"
}

install_torchdrug() { pip_install -qq --no-deps --ignore-requires-python "$torchdrug"; }

# --- what is there, and what is wanted

if [ -e "$venv" ] && [ ! -f "$state" ]; then
    stop "$venv exists and was not made by this script. Move it away or remove it, then run this again."
fi
if [ "$(recorded status)" = unfinished ] \
        && ps -p "$(recorded process)" -o args= 2>/dev/null | grep -q 'setup\.sh'; then
    stop "another set-up of $root is running (process $(recorded process)). Wait for it, then run this again."
fi

# of the PyTorch that was installed last; a TORCH_SPEC that cannot be installed is not kept
installed_spec="$(recorded torch_spec)"
torch_spec="${TORCH_SPEC:-$installed_spec}"
files="$({ cat "$root/setup.py" "$root/script/constraints.txt" "$root/script/setup.sh"
           grep '^__version__' "$root/gearnet_plugin/__init__.py"; } | cksum)"

found_python="$(identity "$venv/bin/python" || true)"
if [ -n "${PYTHON:-}" ] || [ -z "$found_python" ] || [ "$(recorded status)" != finished ]; then
    choose_python
    wanted_python="$(identity "$python")"
else
    python="$venv/bin/python"
    wanted_python="$found_python"
fi

fresh=yes
if [ "$(recorded status)" = finished ] && [ "$(recorded root)" = "$root" ] \
        && [ "$(recorded python)" = "$wanted_python" ] && [ "$found_python" = "$wanted_python" ] \
        && [ "$installed_spec" = "$torch_spec" ]; then
    if [ "$(recorded files)" = "$files" ]; then
        say "nothing to do, $venv is up to date"
        exit 0
    fi
    fresh=no
fi

# --- do it

if [ "$fresh" = yes ]; then
    check_venv_module
    [ ! -e "$venv" ] || say "$venv is unfinished, or for another place, Python or PyTorch: starting again"
    # a Python that lives in the folder that is about to go cannot make the next one
    python="$("$python" -c 'import sys; print(getattr(sys, "_base_executable", "") or sys.executable)')"
    rm -rf "$venv"
    mkdir "$venv"
    write_state unfinished
    run_step "virtual environment ($("$python" --version))" "$python" -m venv "$venv"
else
    say "setup.py, the constraints or this script have changed: bringing $venv up to date"
    write_state unfinished
fi
run_step "PyTorch (${torch_spec:-$(grep '^torch==' "$root/script/constraints.txt")}), the largest part" install_torch
installed_spec="$torch_spec"
write_state unfinished
run_step "gearnet-plugin and what it needs" install_package
run_step "TorchDrug ($torchdrug)" install_torchdrug

"$venv/bin/python" - <<'CHECK' || stop "installed, but the package cannot be imported: see above."
import platform
import gearnet_plugin
import torch
print("set-up: gearnet-plugin %s, torch %s, Python %s, GPUs: %d"
      % (gearnet_plugin.__version__, torch.__version__, platform.python_version(), torch.cuda.device_count()))
CHECK
write_state finished
say "done in $SECONDS s. To work in it: source '$venv/bin/activate'"
