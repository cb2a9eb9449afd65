"""Where pictures of people are learned from: bodies of a parametric mesh, dressed, walking, and seen by rays."""
