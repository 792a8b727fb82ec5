"""From bytes to text and its language."""
