"""Trusted labels of a sample of the contenders' answers: by ground truth, a second judge, or people."""
