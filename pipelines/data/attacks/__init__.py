"""Attack styles: plain templates that wrap a prompt, one file per CARES method, and their registry.

They exist to train and test refusal: the same request, asked in many ways. All are our own wording of kinds that
are described in print (Egida, arXiv 2502.13603; Wei et al., arXiv 2307.02483; ReNeLLM, arXiv 2311.08268).
"""
