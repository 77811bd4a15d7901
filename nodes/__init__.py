"""The roles, the executor and the state they share."""
