"""Parts of the Run page, one a tab."""
