"""
The command line: thin verbs over the package, one a file, and `recon` in a folder of its own.

A verb declares its options and calls the function that does the work; `console` has what all of them share, such as the
one policy for errors. Nothing else imports this package but the modules that start it.

>>> from art_levelset.cli.main import main
>>> main(["leaderboard", "results/nowhere"])  # one line on stderr
2
"""
