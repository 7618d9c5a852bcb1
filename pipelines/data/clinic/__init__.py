"""The clinic: a contrast benchmark that Salus generates itself, and its tiny policy and judges."""
