"""Logits → loss → optimizer → checkpoint."""
