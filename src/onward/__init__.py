"""onward: from raw text to a transformer that you trained, run and see through."""
