#!/usr/bin/env bash
# Set-up for `make`: a virtual environment from exact pins, this package in place, an OpenGL library for rendering.
set -euo pipefail

venv=${1:?usage: setup.sh VENV_FOLDER}

# pip reads its configuration as usual (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, ...): the CPU and the CUDA build of torch
# satisfy the same pin.
export PIP_DISABLE_PIP_VERSION_CHECK=1

find_python() {
    local candidate
    for candidate in python3.11 /usr/bin/python3.11 python3; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "setup: no Python 3.11 with venv found; install it (Debian: apt-get install python3.11 python3.11-venv)" >&2
    return 1
}

has_gl() {
    "$venv/bin/python" - <<'PYTHON'
import ctypes, sys

def loads(name):
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True

egl = loads("libEGL.so.1") and (loads("libOpenGL.so.0") or loads("libGL.so.1"))
sys.exit(not (egl or loads("libOSMesa.so.8") or loads("libOSMesa.so.6")))
PYTHON
}

install_gl() {
    local packages="libegl1 libgl1 libopengl0 libgl1-mesa-dri" as_root=()
    if [ "$(id -u)" != 0 ]; then
        as_root=(sudo -n)
    fi
    if command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; then
        echo "setup: no OpenGL library found, installing $packages"
        "${as_root[@]}" apt-get update -qq
        # shellcheck disable=SC2086
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
    else
        echo "setup: no OpenGL library found and no right to install one; run: sudo apt-get install $packages" >&2
        return 1
    fi
}

python=$(find_python)
if ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
    echo "setup: making $venv with $python"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
echo "setup: installing requirements.lock"
# The pinned setuptools comes first and builds what has no wheel, so that nothing unpinned is downloaded.
"$venv/bin/python" -m pip install --quiet "$(grep '^setuptools==' requirements.lock)"
# Modules are compiled when they are first imported: most of what gets installed never is.
"$venv/bin/python" -m pip install --quiet --no-compile --use-pep517 --no-build-isolation --requirement requirements.lock
"$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation --editable .
has_gl || install_gl
"$venv/bin/gsa" --version >/dev/null
echo "setup: done; \`source $venv/bin/activate\` gives gsa and dvc"
