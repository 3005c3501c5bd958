"""Evals by age: small tasks whose answers can be checked, made from a seed, scored on every age of a self."""
