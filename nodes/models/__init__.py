"""Chat models that can play a role."""
