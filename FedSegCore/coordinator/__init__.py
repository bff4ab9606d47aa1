"""A study's coordinator: one public port, the sites behind it, and the rounds that it leads."""
