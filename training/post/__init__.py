"""Post-training: from any age to a new self, by example, by preference, by reward, or by growing old."""
