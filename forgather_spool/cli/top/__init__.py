"""`forgather top`: everything on one screen."""
