"""Things that rank."""
