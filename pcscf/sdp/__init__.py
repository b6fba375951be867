"""Session descriptions as lossless lists of lines with typed views. Pure."""
