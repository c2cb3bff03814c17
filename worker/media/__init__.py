"""From a file to tensors: decoding (torch-free, sandboxed) and the one Preprocessor."""
