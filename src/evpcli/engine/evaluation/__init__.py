"""Accuracies: of prompts, of the model without one, and of trained baselines."""
