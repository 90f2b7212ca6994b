"""What a prompt is compared with: a linear probe, full fine-tuning, and a border of noise."""
