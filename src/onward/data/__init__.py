"""Tokens and frames → batches."""
