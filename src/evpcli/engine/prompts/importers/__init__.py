"""Other projects' checkpoints as prompts."""
