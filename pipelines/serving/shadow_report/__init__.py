"""What a challenger answered unseen beside the live policy, judged and compared offline."""
