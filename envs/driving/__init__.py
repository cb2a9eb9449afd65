"""Driving: MetaDrive seen through the windscreen. The source is there; the world that learns from it is not yet."""
