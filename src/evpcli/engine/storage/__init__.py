"""What is kept on disk: prompts, runs, and how a file survives a crash."""
