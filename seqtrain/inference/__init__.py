"""Using trained models: load them, evaluate them, write text with them, test what is promised of them."""
