"""The network that writes semantic IDs: layers, experts, training rows, steps of a search."""
