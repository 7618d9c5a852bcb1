"""Web pages that the endpoint's own application serves: review of answers, and the dashboard."""
