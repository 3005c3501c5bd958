"""The ground floor: what every room of the house must agree on. No torch, no Discord, no database."""
