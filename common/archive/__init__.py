"""Price files to rows: every row accepted, repaired or rejected by name."""
