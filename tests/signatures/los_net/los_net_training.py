"""Training settings of the tests: a second or less."""

QUICK = {"epochs": 12, "learning_rate": 3e-3, "batch_size": 32}
