"""Files that survive crashes, downloads and archives; no torch."""
