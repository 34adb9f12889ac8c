"""One module per paper: which pictures stand where, and what the hand can do to them; GUI thread."""
