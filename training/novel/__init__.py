"""Rewards that only many ages of one model make possible: what the others gain by what one of them says."""
