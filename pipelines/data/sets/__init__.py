"""Public data sets and tables of one's own: one reader each."""
