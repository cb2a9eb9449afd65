"""The simulator in latent space: start, observe, imagine, decode; and how it is fitted."""

from gensim.world.config import FitConfig, NetConfig
from gensim.world.state import State, Step
from gensim.world.world import World

__all__ = ["FitConfig", "NetConfig", "State", "Step", "World"]
