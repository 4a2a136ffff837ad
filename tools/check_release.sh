#!/bin/sh
# Build the wheel and the source distribution, check them, and try each in an environment of its own, away from the
# checkout: the version, the demonstration and the quick tests.
#
#   sh tools/check_release.sh [--dist FOLDER] [--no-tests] [pytest arguments]
#
# FOLDER keeps what was built. PYTHON chooses the interpreter, WORKERS the number of pytest's processes.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dist=$work/dist
tests=yes
while [ $# -gt 0 ]; do
    case $1 in
        --dist) mkdir -p "$2"; dist=$(CDPATH='' cd -- "$2" && pwd); shift 2 ;;
        --no-tests) tests=no; shift ;;
        *) break ;;
    esac
done

# From what git knows, not from what lies about.
mkdir "$work/source"
(cd "$root" && git ls-files -z | xargs -0 tar -cf -) | tar -xf - -C "$work/source"
"$python" -m venv "$work/tools"
"$work/tools/bin/pip" --quiet install build twine
"$work/tools/bin/python" -m build --outdir "$dist" "$work/source"
"$work/tools/bin/twine" check --strict "$dist"/*
ls -l "$dist"

# The tests come from the source distribution; without its __init__.py the package's folder there is none for Python.
mkdir "$work/unpacked"
tar -xzf "$dist"/art_levelset-*.tar.gz -C "$work/unpacked" --strip-components 1
rm "$work/unpacked/art_levelset/__init__.py"

for archive in "$dist"/art_levelset-*.whl "$dist"/art_levelset-*.tar.gz; do
    env=$work/env
    rm -rf "$env" "$work/demo"
    echo "== $(basename "$archive") in a clean environment"
    "$python" -m venv "$env"
    sh "$root/tools/install_torch.sh" "$env/bin/python" "${TORCH_INDEX:-auto}"
    "$env/bin/pip" --quiet install "$archive"
    cd "$work"
    "$env/bin/art-levelset" --version
    "$env/bin/python" -c 'import art_levelset, pathlib; assert (pathlib.Path(art_levelset.__file__).parent / "py.typed").exists()'
    "$env/bin/art-levelset" demo --output-dir "$work/demo" 2>/dev/null
    if [ "$tests" = yes ]; then
        "$env/bin/pip" --quiet install "pytest>=8.4" "pytest-xdist>=3.6" "hypothesis>=6.100" "jsonschema>=4.20"
        (cd "$work/unpacked" && OMP_NUM_THREADS=1 "$env/bin/python" -m pytest -q -n "${WORKERS:-auto}" --dist worksteal \
            -m "not slow" -p no:cacheprovider "$@")
    fi
done
