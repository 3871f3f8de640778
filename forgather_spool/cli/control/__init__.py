"""Running trainers: asking them, and what they answer."""
