"""The agent's own page, for a browser on this machine; needs the extra ``ui``.

`view` says what is shown, `conversation` and `desk` what a person can do; none of them knows NiceGUI. `page` and what
it is made of do, and `server` serves it.
"""
