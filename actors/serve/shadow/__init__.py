"""Shadow mode: a challenger answers a sampled share of live requests unseen, and both answers are kept to be judged."""
