"""One process at a time works in a run folder: the lease it holds, its files, and who holds it."""
