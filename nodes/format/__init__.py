"""The data contract: one trajectory, how it is rendered for a model, and how what a model writes is read."""
