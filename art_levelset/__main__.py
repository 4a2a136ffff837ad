"""`python -m art_levelset VERB`: the command line without the installed script."""

from __future__ import annotations

import sys

from art_levelset.cli.main import main

sys.exit(main())
