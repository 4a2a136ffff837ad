#!/bin/sh
# The quick tests in an environment of another kind than the developers', away from the checkout:
#
#   sh tools/check_environment.sh lowest  [pytest arguments]     the oldest versions that pyproject.toml declares, all extras
#   sh tools/check_environment.sh minimal [pytest arguments]     `pip install art-levelset`, no extras
#   sh tools/check_environment.sh newest  [pytest arguments]     the newest releases of everything, pre-releases of torch not
#
# PYTHON chooses the interpreter (the oldest supported one for "lowest"), WORK keeps the environment in that folder.
set -eu

kind=${1:?lowest, minimal or newest}
shift
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
python=${PYTHON:-python3}
work=${WORK:-$(mktemp -d)}
[ -n "${WORK:-}" ] || trap 'rm -rf "$work"' EXIT

tools="pytest>=8.4 pytest-xdist>=3.6 hypothesis>=6.100 jsonschema>=4.20"
case $kind in
    lowest) extras="[all]" resolution=lowest-direct ;;
    minimal) extras="" resolution=highest ;;
    newest) extras="[all]" resolution=highest ;;
    *) echo "the kind must be lowest, minimal or newest, got $kind" >&2; exit 2 ;;
esac

"$python" -m venv "$work/uv"
"$work/uv/bin/pip" --quiet install uv
"$python" -m venv "$work/venv"
env=$work/venv/bin/python

# The tests see the installed package only: without its __init__.py the checkout's folder is no package that Python takes.
mkdir -p "$work/copy"
(cd "$root" && git ls-files -z | xargs -0 tar -cf -) | tar -xf - -C "$work/copy"
cd "$work/copy"
# shellcheck disable=SC2086  # the tools are several words
"$work/uv/bin/uv" pip install --quiet --python "$env" --resolution "$resolution" "art-levelset$extras @ $work/copy" $tools
if [ -n "$extras" ]; then # torchattacks brings an old copy of robustbench, which the real one must overwrite
    found=$("$work/uv/bin/uv" pip freeze --quiet --python "$env" | grep '^robustbench==')
    "$work/uv/bin/uv" pip install --quiet --python "$env" --no-deps --reinstall-package robustbench "$found"
    # Without its dependency visdom, which no test needs and a new setuptools cannot build.
    "$work/uv/bin/uv" pip install --quiet --python "$env" --no-deps --resolution "$resolution" "adv-lib>=0.2.6"
fi
rm art_levelset/__init__.py
"$work/uv/bin/uv" pip list --quiet --python "$env"

# Warnings of other libraries' old versions about new ones beside them are no errors here.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
"$env" -m pytest -q -n "${WORKERS:-auto}" --dist worksteal -m "not slow" -p no:cacheprovider \
    -W default::DeprecationWarning -W default::PendingDeprecationWarning -W default::FutureWarning "$@"
