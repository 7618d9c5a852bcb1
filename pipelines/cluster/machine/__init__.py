"""What one machine has, and what its GPUs can hold."""
