"""Data sets as streams of `PROMPT_SCHEMA` record batches: one file per data set, one typed row for all.

Every `read_*` function is a generator: it holds one batch at a time, and names file and line of a bad row.
"""
