"""The documentation: pages, and what draws the rest of the site."""
