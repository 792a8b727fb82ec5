"""Small causal language models: train one on a corpus, measure how well one predicts documents. Needs torch."""
