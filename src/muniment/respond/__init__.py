"""What is done about what was found: blocks with a preview, a second person, a time limit and an undo; feeds; notices."""
