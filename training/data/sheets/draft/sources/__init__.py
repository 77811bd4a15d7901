"""Wordings from elsewhere than the rules: a larger model, and requests that people sent."""
