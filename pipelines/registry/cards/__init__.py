"""Model cards: the front matter that the hub reads, and sections for people."""
