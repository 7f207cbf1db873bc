"""Self-contained HTML pages: the base template, tables, styles and scripts of the reports."""
