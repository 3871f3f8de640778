"""The cards: who is on them, and who may be."""
