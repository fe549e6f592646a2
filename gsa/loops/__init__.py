"""What the stages run: each loop is one plain function over the library below it."""
