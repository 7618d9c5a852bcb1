"""What people said of the endpoint's answers, as training rows of the next cycle."""
