"""Text: reading it, numbering its tokens, laying it out for training."""
