"""Questions for the built-in tools: how people ask them, which calls answer them, and with which tools at hand."""
