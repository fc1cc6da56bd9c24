"""Puts this folder on the import path, so that tests below it share ``event_strategies``.

Properties have no time limit per example: on a busy machine the limit measures the machine.
"""

from hypothesis import settings

settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
