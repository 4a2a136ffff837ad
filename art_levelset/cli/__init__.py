"""The command line: thin verbs over the package, one a file."""
