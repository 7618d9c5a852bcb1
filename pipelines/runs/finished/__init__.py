"""What is known of runs that were made: found, described, traced, compared, and freed of what is not needed."""
