"""What was seen: recording simulators, storing episodes without loss, and sampling them."""

from gensim.episodes.actions import ActionSpec
from gensim.episodes.store import Dataset, Episode, read_episode, write_episode

__all__ = ["ActionSpec", "Dataset", "Episode", "read_episode", "write_episode"]
