"""Learned simulators as Gymnasium environments."""

import gensim.ood as ood
from gensim.envs.registry import register, registered

__version__ = "0.1.0"
__all__ = ["ood", "register", "registered"]

register()
