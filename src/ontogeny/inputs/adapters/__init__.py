"""Where heads, layers and embeddings lie in the models of other libraries; none of those libraries is imported."""
