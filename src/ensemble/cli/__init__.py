"""The command line: one file a verb; `main` knows their names and loads the one that is called."""
