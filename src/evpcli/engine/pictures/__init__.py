"""Pictures in: found, decoded, shrunk, cut into batches."""
