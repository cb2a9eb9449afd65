"""Learned simulators as Gymnasium environments."""

from gensim.envs.registry import register, registered

__version__ = "0.1.0"
__all__ = ["register", "registered"]

register()
