"""References and outputs of any system, from files in the formats that are in use for them."""
