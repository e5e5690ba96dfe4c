#!/usr/bin/env bash
# All checks: lint, format, types, shell scripts, tests. With arguments, which go to pytest, those tests alone:
#
#     bash tools/test.sh                                   # everything
#     bash tools/test.sh tests/model/test_masking.py       # a file
#     bash tools/test.sh tests/model -k masking -x         # whatever pytest takes
#     bash tools/test.sh --newest [arguments for pytest]   # tests, with the newest packages that pyproject.toml allows
#
# Paths count from the root of the repository. The whole suite runs in two processes, part of it in one unless -n says
# otherwise. Packages are those of the active environment, else .venv's, with the versions of tools/requirements.lock;
# with --newest those of .venv-newest, which is made anew each time and compared with the lock. Every check runs even if
# one before it fails; the exit status is 0 only if all pass.
set -uo pipefail

tools=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=environment.sh
. "$tools/environment.sh"

if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
    sed -n -e 's/^# \{0,1\}//' -e '2,12p' "${BASH_SOURCE[0]}"
    exit 0
fi

# Makes .venv-newest with the usual environment's uv, and takes its Python.
use_newest() {
    local uv=("$PYTHON" -m uv) lock=$tools/requirements.lock
    use_mirror "$PYTHON"
    [ -z "${PYTHONDONTWRITEBYTECODE:-}" ] || export UV_COMPILE_BYTECODE=1
    "${uv[@]}" venv --quiet --clear --python "$PYTHON" "$ROOT/.venv-newest" || exit 2
    PYTHON=$ROOT/.venv-newest/bin/python
    "${uv[@]}" pip install --upgrade --python "$PYTHON" --editable '.[dev]' || fail "the newest packages cannot be installed."
    echo "Where the lock has others (- newest, + lock):"
    "${uv[@]}" pip install --dry-run --python "$PYTHON" --constraint "$lock" --editable '.[dev]' 2>&1 |
        grep '^ [-+]' || echo ' nowhere'
}

names=()
results=()
failed=0

check() {
    local name=$1 started=$SECONDS result=passed
    shift
    printf '\n== %s\n' "$name"
    "$@" || result="FAILED (exit status $?)"
    [ "$result" = passed ] || failed=1
    names+=("$name")
    results+=("$result, $((SECONDS - started)) s")
}

# The scripts of each recipe import each other as they do when run, and another recipe may use the same names.
# shellcheck disable=SC2329  # called through check
check_types() {
    local scripts status=0
    "$PYTHON" -m mypy speechssl tools recipes/pseudo_labels.py || status=1
    for scripts in recipes/*/local; do
        "$PYTHON" -m mypy "$scripts" || status=1
    done
    return "$status"
}

# shellcheck disable=SC2329  # called through check
check_shell_scripts() {
    local scripts=(.ci/run) script
    while IFS= read -r script; do
        scripts+=("$script")
    done < <(find . -name '.venv*' -prune -o -name .git -prune -o -name exp -prune -o -name '*.sh' -print | sort)
    PATH="$(dirname "$PYTHON"):$PATH" shellcheck --external-sources "${scripts[@]}"
}

ensure_environment dev
cd "$ROOT" || exit 2
if [ "${1:-}" = --newest ]; then
    shift
    use_newest
    exec "$PYTHON" -m pytest "$@"
elif [ $# -gt 0 ]; then
    exec "$PYTHON" -m pytest "$@"
fi

check "ruff check" "$PYTHON" -m ruff check .
check "ruff format" "$PYTHON" -m ruff format --check .
check "mypy" check_types
check "shellcheck" check_shell_scripts
check "pytest" "$PYTHON" -m pytest

printf '\n== summary\n'
for i in "${!names[@]}"; do
    printf '%-12s %s\n' "${names[$i]}" "${results[$i]}"
done
exit "$failed"
