# shellcheck shell=bash
# The Python environment of this repository. Scripts source this file and call "ensure_environment EXTRA", an extra of
# pyproject.toml. It sets PYTHON to an interpreter that has every package needed, and puts this checkout first on
# PYTHONPATH: that of the active environment if it fits (which is never changed), else that of .venv, which is made or
# completed as requirements.lock says. Runs with bash 3.2 and without GNU tools.

ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

ensure_environment() {
    local base
    base=$(find_python) || exit $?
    # shellcheck disable=SC2034  # for the scripts that source this file
    PYTHON=$("$base" "$ROOT/tools/environment.py" "$1") || exit $?
    export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
}

# Tells uv, which does not read pip's settings, of pip's index.
use_mirror() {
    local index
    index=$("$1" "$ROOT/tools/environment.py" mirror)
    [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
}

fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '  %s\n' "$@" >&2
    exit 2
}

# The default Python if PyTorch has builds for it, else the newest that will do, else one that uv brings.
find_python() {
    local name version found=''
    for name in python3 python python3.15 python3.14 python3.13 python3.12 python3.11 python3.10; do
        version=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2] + sys.abiflags)' 2>/dev/null) || continue
        case $version in
            3.1[0-5]) "$name" -c 'import sys; print(sys.executable)' && return ;;
        esac
        found="$found $name ($version)"
    done
    command -v uv >/dev/null && uv python install 3.13 >&2 && uv python find 3.13 && return
    fail "speechssl needs Python 3.10 to 3.15; found:${found:- none}." \
        "Debian, Ubuntu: sudo apt install python3 python3-venv; macOS: brew install python@3.13. Or install uv."
}
