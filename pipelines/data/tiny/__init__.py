"""Tiny real models: a tokenizer, a small Llama, a plain pretraining loop and a content-hash cache."""
