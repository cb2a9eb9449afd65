"""Stress: how often a perception model misses what is there, in generated corner cases and in the population."""

from gensim.stress.judge import Report, judge
from gensim.stress.models import load
from gensim.stress.scenes import Law, Scene, crossing, scenes

__all__ = ["Law", "Report", "Scene", "crossing", "judge", "load", "scenes"]
