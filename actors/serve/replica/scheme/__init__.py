"""Inference schemes at serving: a request becomes what the policy was asked when its scheme was measured."""
