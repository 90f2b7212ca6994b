"""The learned border, its label map, and the file that holds both."""
