"""Model → text."""
