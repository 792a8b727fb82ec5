"""From bytes to text, title and date of a page."""
