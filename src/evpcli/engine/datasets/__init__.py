"""Labelled pictures, each kind behind one interface."""
