"""Checks the jaxtyping annotations of worker.science at run time: shapes and dtypes, in tests only."""

from jaxtyping import install_import_hook

install_import_hook("worker.science", "beartype.beartype")
