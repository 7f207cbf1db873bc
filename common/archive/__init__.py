"""Read price files into rows; every row is accepted, repaired or rejected with a reason."""
