"""First drafts of sheets, from what tools say of themselves: to be corrected by hand."""
