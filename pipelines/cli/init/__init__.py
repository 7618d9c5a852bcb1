"""`salus init`: a recipe for one's own model, data and judge."""
