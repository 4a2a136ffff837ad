"""`python -m art_levelset.recon scan.ply`: the same as `art-levelset recon scan.ply`."""

import sys

from art_levelset.cli.main import main

sys.exit(main(["recon", *sys.argv[1:]]))
