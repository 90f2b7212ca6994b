"""Numbered, immutable prompts on disk."""
