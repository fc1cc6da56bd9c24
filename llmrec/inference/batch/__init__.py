"""Many requests in a file, many results in another: in this process, or on Ray."""
