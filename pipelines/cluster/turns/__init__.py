"""Placement by turns: all GPUs do what is due, stage after stage; its division, its engines and its costs."""
