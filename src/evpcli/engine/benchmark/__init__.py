"""Methods, datasets, backbones and seeds in one resumable table."""
