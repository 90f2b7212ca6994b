"""The prompt file: what it may hold, how a stranger's is read, other layouts."""
