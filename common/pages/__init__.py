"""HTML pages that need nothing else: the base template, tables, styles and programs of every report."""
