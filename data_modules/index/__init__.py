"""Which samples there are: tables, ids, labels, splits, fractions and groups."""
