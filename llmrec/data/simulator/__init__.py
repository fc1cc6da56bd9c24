"""The simulator: data that always works, and the truth about it.

Items have topics, quality, popularity and text; users have drifting tastes, interests within a
session, boredom; requests show slates with popularity and position bias. The next event has a known
distribution, so the best reachable ranking metric and the best session are known. Figures from
simulated data say whether a method works, never how well it does on real data.
"""

from llmrec.data.simulator.large import write_large
from llmrec.data.simulator.oracle import Oracle
from llmrec.data.simulator.presets import PRESETS, Preset, preset
from llmrec.data.simulator.session_value import Outcomes
from llmrec.data.simulator.simulation import Simulation, simulate
from llmrec.data.simulator.truth import Attainable, Truth

__all__ = [
    "PRESETS",
    "Attainable",
    "Oracle",
    "Outcomes",
    "Preset",
    "Simulation",
    "Truth",
    "preset",
    "simulate",
    "write_large",
]
