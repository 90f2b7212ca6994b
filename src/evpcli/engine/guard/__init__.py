"""Strangers' tensor files, read without running anything in them."""
