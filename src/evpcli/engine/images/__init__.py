"""Strangers' image files, decoded under limits."""
