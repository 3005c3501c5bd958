"""From random weights to an age, keeping every age on the way."""
