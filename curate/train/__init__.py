"""From recipes to scorers: each kind of recipe is a module, and runs without Ray and without vLLM."""
