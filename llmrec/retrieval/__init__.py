"""Text to vectors and vectors to neighbours: encoders, caches, exact and approximate search."""
