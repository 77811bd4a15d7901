"""Tool sheets: YAML that says what a tool is and how people ask for it, and the tasks generated from it.

The modules in their order: values, wording, form, request, voices, tasks. `docs/tool-sheets.md` documents the form;
`world/` holds the sheets of invented tools that the shipped checkpoint is trained on.
"""
