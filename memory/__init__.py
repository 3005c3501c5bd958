"""What was said, by whom, from which weights. The only room that talks to the database."""
