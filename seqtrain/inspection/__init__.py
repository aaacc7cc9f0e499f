"""What a trained cell remembers: its gates, gradients through time, the context that it uses, what its units hold."""
