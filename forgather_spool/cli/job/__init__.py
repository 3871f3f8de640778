"""One job, or a few by name: looking at it, following, waiting, stopping, running it again."""
