#!/bin/sh
# Install PyTorch into an environment, without 4 GB of CUDA libraries where no GPU could use them; says in one line what it did.
#
#   sh tools/install_torch.sh PYTHON [auto | default | URL] [CPU_INDEX]
#
# PYTHON is the environment's. "auto" takes the builds of CPU_INDEX on Linux without an NVIDIA GPU, if that index answers
# within five seconds; "default" leaves it to pip's own index, and so does all that fails here; URL is an index to take.
set -eu

python=$1
choice=${2:-auto}
cpu_index=${3:-https://download.pytorch.org/whl/cpu}

has_gpu() {
    [ -e /proc/driver/nvidia/version ] || { command -v nvidia-smi && nvidia-smi -L; } >/dev/null 2>&1
}

answers() {
    "$python" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' "$1/torch/" 2>/dev/null
}

say() {
    echo "PyTorch: $*"
}

if "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'; then
    say "is there already"
    exit 0
fi

case $choice in
    default) say "the usual build, as asked for"; exit 0 ;;
    auto)
        if [ "$(uname -s)" != Linux ]; then say "the usual build, which has no CUDA here"; exit 0; fi
        if has_gpu; then say "the usual build, with CUDA for the GPU of this machine"; exit 0; fi
        if ! answers "$cpu_index"; then
            say "the usual build, for $cpu_index does not answer (no GPU here: 4 GB of CUDA libraries are not needed)"
            exit 0
        fi
        index=$cpu_index
        ;;
    *) index=$choice ;;
esac

if "$python" -m pip install torch torchvision --index-url "$index"; then
    say "installed from $index"
else
    say "the usual build, for $index has none that can be installed"
fi
