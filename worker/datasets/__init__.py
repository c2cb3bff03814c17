"""Datasets: which clips there are, and the prepared store that training reads."""
