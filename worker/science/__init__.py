"""The science: gap, mixture, adaptive loss, metrics. Pure functions; imports nothing of ours."""
