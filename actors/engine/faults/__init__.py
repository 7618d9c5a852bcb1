"""What goes wrong with an engine: its core dies, its memory runs out, its device is not the one asked for."""
