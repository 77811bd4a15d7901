"""Weights and adapters in llama.cpp; imports neither torch nor transformers."""
