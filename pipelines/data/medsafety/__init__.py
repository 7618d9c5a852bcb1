"""The real-text recipe: MedSafetyBench requests (harmful), MedQuAD questions (benign), and a tiny policy."""
