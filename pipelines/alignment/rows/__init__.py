"""Rows to train on: made of judged answers, and Egida's pairs."""
