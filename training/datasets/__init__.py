"""Data sets to post-train on: each a short file of its own, to be copied and changed."""
