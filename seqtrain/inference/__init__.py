"""Using trained models: load them, evaluate them, write text with them, prove what is promised of them."""
