"""How sure a mean over photos is, and how the worth of several regions divides among them."""
