"""How certain a mean over photos is, and how the value of several regions is divided among them."""
