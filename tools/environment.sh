# shellcheck shell=bash
# The Python environment of this repository, for tools/test.sh and the recipes. Source this file, then call
#
#     ensure_environment EXTRA        (an extra of pyproject.toml: "quickstart" or "dev")
#
# It sets PYTHON to an interpreter that has every package needed, and puts this checkout first on PYTHONPATH:
# that of the active environment if it fits already (which is never changed), else that of .venv, which is made,
# completed or repaired as needed. Runs with bash 3.2 and without GNU tools.

ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$ROOT/.venv
VENV_LOCK=$ROOT/.venv.lock
PIP_LOG=$VENV/install.log
MADE_HERE=$VENV/.made-by-tools-environment
# PyTorch 2.11 has builds for these versions of Python and no others.
OLDEST_PYTHON=10
NEWEST_PYTHON=14
LOCK_PATIENCE_SECONDS=3600

ensure_environment() {
    local extra=$1
    if ! use_present_environment "$extra"; then
        PYTHON=$VENV/bin/python
        if ! venv_is_complete "$extra"; then
            complete_venv "$extra"
        fi
    fi
    export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
}

fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '  %s\n' "$@" >&2
    exit 2
}

# ---- an environment that is there already ----

use_present_environment() {
    local extra=$1 prefix=${VIRTUAL_ENV:-${CONDA_PREFIX:-}} candidate missing
    if [ -n "$prefix" ] && [ ! "$prefix" -ef "$VENV" ]; then
        candidate=$prefix/bin/python
    elif [ ! -e "$VENV" ]; then
        candidate=$(command -v python3) || return 1
    else
        return 1
    fi
    if python_fits "$candidate" && missing=$("$candidate" "$ROOT/tools/environment.py" missing "$extra"); then
        # shellcheck disable=SC2034  # for the scripts that source this file
        PYTHON=$candidate
        echo "Using the environment of $candidate."
    else
        [ -z "$prefix" ] || explain_unfit "$prefix" "${missing:-}"
        return 1
    fi
}

explain_unfit() {
    local prefix=$1 missing=$2
    echo "The active environment $prefix does not fit and is left as it is; using $VENV instead."
    [ ! -e "$VENV" ] || return 0
    if [ -z "$missing" ]; then
        echo "  It needs Python 3.$OLDEST_PYTHON to 3.$NEWEST_PYTHON; it has $(python_version "$prefix/bin/python")."
    else
        printf '%s\n' "$missing" | sed -n -e 's/^/  /' -e '1,3p'
    fi
}

python_version() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo "none that runs"
}

python_fits() {
    local version minor
    version=$(python_version "$1")
    minor=${version#3.}
    case $minor in
        "$version" | *[!0-9]*) return 1 ;;
    esac
    [ "$minor" -ge "$OLDEST_PYTHON" ] && [ "$minor" -le "$NEWEST_PYTHON" ]
}

# ---- .venv: complete it, one script at a time ----

# The last step of making .venv writes this text into it; while the text is right nothing needs to be done.
stamp_text() {
    printf '%s %s %s\n' "$(cksum <"$ROOT/pyproject.toml")" "$(python_version "$VENV/bin/python")" "$ROOT"
}

venv_is_complete() {
    local extra text
    text=$(stamp_text)
    for extra in "$1" dev; do
        [ -f "$VENV/.complete-$extra" ] && [ "$(cat "$VENV/.complete-$extra")" = "$text" ] && return 0
    done
    return 1
}

complete_venv() {
    [ -w "$ROOT" ] || fail "$ROOT is not writable, so .venv cannot be made in it."
    take_lock
    trap 'rm -rf "$VENV_LOCK"' EXIT
    trap 'interrupted' INT TERM HUP
    # Another script may have completed it while this one waited.
    venv_is_complete "$1" || build_venv "$1"
    trap - INT TERM HUP EXIT
    rm -rf "$VENV_LOCK"
}

build_venv() {
    local extra=$1
    make_venv
    install_packages "$extra"
    if ! check_venv "$extra"; then
        [ -e "$MADE_HERE" ] || fail "$VENV has damaged packages (listed above)." \
            "Remove it and run this again: rm -rf '$VENV'"
        echo "The installation is damaged in a way that pip does not see; making .venv anew."
        rm -rf "$VENV"
        make_venv
        install_packages "$extra"
        check_venv "$extra" || fail "the packages in $VENV do not load (see above)." \
            "If a system library is named, install it with the system's package manager and run this again."
    fi
    stamp_text >"$VENV/.complete-$extra"
    rm -f "$PIP_LOG"
    echo "The environment in $VENV is complete."
}

interrupted() {
    trap '' INT TERM HUP
    if [ -n "${worker:-}" ]; then
        kill "$worker" 2>/dev/null || :
        wait "$worker" 2>/dev/null || :
    fi
    echo "Interrupted; run the same command again to go on from here." >&2
    exit 130
}

# Runs a command that may take long: interruptible at once, and known to the lock so that it is not doubled
# if this script is killed and leaves it behind.
run_worker() {
    local status=0
    "$@" </dev/null &
    worker=$!
    write_lock_owner "$$ $worker"
    wait "$worker" || status=$?
    worker=
    write_lock_owner "$$"
    return "$status"
}

take_lock() {
    local waited=0
    until mkdir "$VENV_LOCK" 2>/dev/null; do
        if lock_is_stale; then
            remove_stale_lock
            continue
        fi
        [ "$waited" -lt "$LOCK_PATIENCE_SECONDS" ] || fail "$VENV_LOCK has been held for an hour by $(lock_owner)." \
            "If no script is making .venv any more, remove it: rm -rf '$VENV_LOCK'"
        [ $((waited % 60)) -ne 0 ] || echo "Waiting for another script that is making .venv: $(lock_owner)."
        sleep 1
        waited=$((waited + 1))
    done
    write_lock_owner "$$"
}

write_lock_owner() {
    printf 'host %s, process %s\n' "$(uname -n)" "$1" >"$VENV_LOCK/owner.new"
    mv -f "$VENV_LOCK/owner.new" "$VENV_LOCK/owner"
}

lock_owner() {
    cat "$VENV_LOCK/owner" 2>/dev/null || echo "a script that has just started"
}

# Stale: of this machine, and none of its processes lives. Another machine's processes cannot be asked.
lock_is_stale() {
    local owner process
    [ -e "$VENV_LOCK/owner" ] || sleep 2
    [ -d "$VENV_LOCK" ] || return 1
    owner=$(lock_owner)
    case $owner in
        "host $(uname -n), process "*) ;;
        "a script that has just started") return 0 ;;
        *) return 1 ;;
    esac
    for process in ${owner##*process }; do
        ! kill -0 "$process" 2>/dev/null && [ ! -d "/proc/$process" ] || return 1
    done
}

# Renaming is atomic, so of several scripts that see a stale lock one removes it; a fresh lock is put back.
remove_stale_lock() {
    local aside=$VENV_LOCK.stale.$$
    mv "$VENV_LOCK" "$aside" 2>/dev/null || return 0
    if VENV_LOCK=$aside lock_is_stale; then
        rm -rf "$aside"
    else
        mv "$aside" "$VENV_LOCK"
    fi
}

# ---- .venv: the steps ----

make_venv() {
    local base
    if [ -e "$VENV" ] && ! python_fits "$VENV/bin/python"; then
        set_broken_venv_aside
    fi
    if [ ! -e "$VENV" ]; then
        base=$(find_python) || exit 2
        echo "Making $VENV with $base (Python $(python_version "$base"))."
        mkdir "$VENV" || fail "cannot make $VENV."
        : >"$MADE_HERE"
        run_worker "$base" -m venv --without-pip "$VENV" || fail "$base cannot make a virtual environment (see above)." \
            "$(venv_package_advice "$base")"
    fi
    ensure_pip
}

# Only what these scripts made is deleted.
set_broken_venv_aside() {
    local number=1
    if [ -e "$MADE_HERE" ] || rmdir "$VENV" 2>/dev/null; then
        echo "$VENV has no Python that runs, as after an interruption; making it anew."
        rm -rf "$VENV"
        return
    fi
    while [ -e "$VENV.broken-$number" ]; do
        number=$((number + 1))
    done
    echo "$VENV has no Python 3.$OLDEST_PYTHON to 3.$NEWEST_PYTHON that runs; moving it to $VENV.broken-$number."
    mv "$VENV" "$VENV.broken-$number"
}

# The default python3 if it will do, else the newest that will.
find_python() {
    local name candidate versions minor found='' fallback=''
    versions=''
    minor=$NEWEST_PYTHON
    while [ "$minor" -ge "$OLDEST_PYTHON" ]; do
        versions="$versions python3.$minor"
        minor=$((minor - 1))
    done
    for name in python3 python $versions; do
        candidate=$(command -v "$name") || continue
        if ! python_fits "$candidate"; then
            found="$found $candidate ($(python_version "$candidate"))"
        elif "$candidate" -c 'import venv' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return 0
        else
            fallback=${fallback:-$candidate}
        fi
    done
    if [ -n "$fallback" ]; then
        fail "$fallback lacks its module venv." "$(venv_package_advice "$fallback")"
    fi
    fail "speechssl needs Python 3.$OLDEST_PYTHON to 3.$NEWEST_PYTHON; found:${found:- no Python at all}." \
        "Install one so that 'python3' or, for example, 'python3.12' runs it, or activate an environment that has it," \
        "and run this again. Debian, Ubuntu: sudo apt install python3 python3-venv; macOS: brew install python@3.12"
}

venv_package_advice() {
    local version
    version=$(python_version "$1")
    echo "Debian, Ubuntu: sudo apt install python$version-venv   Others: the full Python package. Then run this again."
}

# Some distributions leave ensurepip out, some environments come without pip: three ways to get it.
ensure_pip() {
    local python=$VENV/bin/python base folder wheel
    "$python" -m pip --version >/dev/null 2>&1 && return 0
    run_worker "$python" -m ensurepip --default-pip >/dev/null 2>&1 && return 0
    echo "This Python brings no pip of its own; fetching it."
    base=$("$python" -c 'import sys; print(sys._base_executable)')
    folder=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    run_worker "$base" -m pip install --quiet --target "$folder" pip >/dev/null 2>&1 && return 0
    if wheel=$("$python" "$ROOT/tools/environment.py" fetch-pip "$VENV"); then
        run_worker "$python" "$wheel/pip" install --quiet --no-index "$wheel" && rm -f "$wheel" && return 0
    fi
    fail "$base has no ensurepip, and pip could not be fetched: $wheel" "$(venv_package_advice "$base")"
}

install_packages() {
    local extra=$1 python=$VENV/bin/python missing
    if ! missing=$("$python" "$ROOT/tools/environment.py" missing "$extra"); then
        printf '%s\n' "$missing" | grep -q '^torch~' && announce_size
        pip_install --editable "${ROOT}[$extra]"
    elif ! "$python" "$ROOT/tools/environment.py" installed >/dev/null; then
        pip_install --no-deps --editable "$ROOT"
    fi
}

announce_size() {
    local needed=8 free
    [ "$(uname -s)" = Linux ] || needed=3
    free=$(($(df -Pk "$ROOT" | sed -n '$p' | awk '{ print $4 }') / 1048576))
    echo "Installing PyTorch and the other packages into .venv: this takes minutes, once."
    [ "$free" -ge "$needed" ] || echo "warning: $free GB are free under $ROOT, and about $needed GB are needed on the way."
    if [ "$(uname -s)" = Linux ] && [ ! -e /dev/nvidiactl ]; then
        echo "  PyTorch's default build for Linux brings several GB for NVIDIA GPUs, of which none is seen here. For the"
        echo "  smaller CPU build: interrupt, make .venv yourself, install torch 2.11 and torchaudio 2.11 into it as"
        echo "  pytorch.org/get-started says for CPU, and run this again; what fits in .venv is kept."
    fi
}

pip_install() {
    rm -f "$PIP_LOG" "$VENV"/.complete-*
    run_worker "$VENV/bin/python" -m pip install --no-input --disable-pip-version-check --log "$PIP_LOG" "$@" && return 0
    printf '\nerror: pip could not install the packages. From its log, %s:\n' "$PIP_LOG" >&2
    { grep -e 'ERROR: ' -e 'error: ' "$PIP_LOG" || cat "$PIP_LOG"; } | tail -n 5 | sed 's/^[-0-9T:,]* */  | /' >&2
    fail "$(explain_pip_failure)" "What is done so far is kept; run the same command again to go on from there."
}

explain_pip_failure() {
    if grep -q -i -e 'No space left' -e 'Disk quota exceeded' "$PIP_LOG"; then
        echo "The disk is full ($(df -Pk "$ROOT" | sed -n '$p' | awk '{ print int($4 / 1024) }') MB free): make room, about 8 GB on Linux."
    elif grep -q -i -e 'NewConnectionError' -e 'NameResolutionError' -e 'Network is unreachable' -e 'Read timed out' \
        -e 'ConnectTimeout' -e 'ProxyError' -e 'SSLError' -e 'Connection refused' "$PIP_LOG"; then
        echo "The package index could not be reached: connect to the network, or configure pip's proxy or index (pip help config)."
    elif grep -q -e 'No matching distribution found for torch' "$PIP_LOG"; then
        echo "PyTorch 2.11 has no build for this machine: it needs Linux with glibc (x86-64, arm64) or macOS on Apple silicon."
    else
        echo "The lines above say what went wrong."
    fi
}

# Nothing may be stamped as complete that an interruption or a missing system library has left unusable.
check_venv() {
    local extra=$1 question
    echo "Checking the installed packages."
    for question in "missing $extra" installed damaged unloadable; do
        # shellcheck disable=SC2086  # a question and its argument are two words
        "$VENV/bin/python" "$ROOT/tools/environment.py" $question || return 1
    done
}
