"""What runs remotely, and the contract it speaks."""
