"""The compiled engine: its C++ source in the folder `csrc`, loading it, its memory and its matrix products."""
