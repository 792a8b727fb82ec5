"""From a pipeline file to a plan: steps, columns, cache keys, segments."""
