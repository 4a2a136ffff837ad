"""`python -m art_levelset.recon scan.ply`: the same as `art-levelset recon scan.ply`."""

from __future__ import annotations

import sys

from art_levelset.cli.signals import as_process


def _command() -> int:
    from art_levelset.cli.main import main

    return main(["recon", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(as_process("art-levelset", _command))
