"""The training loop, what it changes, and the folder of a run."""
