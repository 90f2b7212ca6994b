"""What a terminal, a pipe or a program is shown."""
