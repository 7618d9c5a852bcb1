"""A run on disk: opened, held by one process, kept in a store, and looked after once it is finished."""
