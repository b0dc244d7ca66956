"""Pictures: figures with one style, and the head as an image."""
