"""One way to ask language models: requests, results, records and the backends that answer."""
