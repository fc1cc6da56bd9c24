"""From a score to a decision: calibration, curves, thresholds, and what may be promised.

Everywhere a high risk is bad, label 1 is what went wrong, and an answer is given where its risk is
at most a threshold.
"""
