"""Rare events: find them, weigh them."""

from gensim.rare.estimate import estimate
from gensim.rare.problem import Problem
from gensim.rare.result import Estimate

__all__ = ["Estimate", "Problem", "estimate"]
