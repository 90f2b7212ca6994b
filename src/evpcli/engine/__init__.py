"""What `evp` computes and keeps: torch, files and devices; never a terminal."""
