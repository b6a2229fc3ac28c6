"""Measuring MARS on real conversations: evidence recall, and answers with their abstentions."""
