"""Plain values and arithmetic: no torch, no files, no printing."""
