"""The page of one move explained."""
