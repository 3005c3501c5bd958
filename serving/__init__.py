"""A voice for every age, at one OpenAI-compatible address."""
