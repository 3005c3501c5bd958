"""Ages, diaries and transcripts made into pages that people read."""
