"""What runs in MetaDrive's own environment; of it, gensim itself imports `wire` alone."""
