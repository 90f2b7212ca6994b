"""Frozen image models, each behind one interface."""
