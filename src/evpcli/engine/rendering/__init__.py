"""Pictures out: prompted images, sheets, figures, reports."""
