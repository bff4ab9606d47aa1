"""A whole study on one machine: its sites, its rounds, and what they leave on disk."""
