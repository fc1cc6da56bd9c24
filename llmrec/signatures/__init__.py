"""What the log-probabilities of a language model say about its answers and its training data."""
