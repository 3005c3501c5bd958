"""Traits: what a self is like, by small probes that every self is asked, and how to tell it apart."""
