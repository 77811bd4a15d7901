"""Tools that work offline and without keys."""
