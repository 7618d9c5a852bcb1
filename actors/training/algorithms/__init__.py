"""The training algorithms: a file for each, and the table that names them."""
