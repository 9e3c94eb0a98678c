"""The command line: one tree of verbs, each a file here; the three commands are doors into it."""
