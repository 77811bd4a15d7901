"""The gate before every tool call: rules that ask, the question a person sees, the node that waits."""
