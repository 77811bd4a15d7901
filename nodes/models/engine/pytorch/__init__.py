"""Weights and adapters in torch, and a forward pass over them."""
