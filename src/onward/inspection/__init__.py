"""Looking inside: what a model would say at each layer, what moves its logits, the way of a text through it."""
