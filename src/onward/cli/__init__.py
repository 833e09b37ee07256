"""The command line: every command parses, imports, and calls; no logic of its own."""
