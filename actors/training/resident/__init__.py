"""Resident trainers: the loop in which they ask for jobs, and the dispatcher of those that several runs share."""
