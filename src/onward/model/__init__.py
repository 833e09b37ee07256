"""Batches → logits: the parts of a transformer, and the models made of them."""
