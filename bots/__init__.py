"""Selves in conversation: scenes, floor and guards, in the terminal and on Discord."""
