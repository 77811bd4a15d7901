"""Tool sheets: YAML that says what a tool is and how people ask for it, and the tasks generated from it.

The modules in their order: wording, real_tool, form, reference, request, check, load; then tasks, bystanders and lint.
The form is documented in `docs/tool-sheets.md`; `world/` holds the sheets of invented tools.
"""
