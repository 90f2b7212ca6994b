"""Devices, memory, and several processes of one run."""
