"""What runs at the endpoint so that people's word on an answer is kept: capture, routes, journals."""
