"""What a policy can still do: questions, reference answers, and tasks of the evaluation harness."""
