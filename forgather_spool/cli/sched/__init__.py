"""The queue as a whole: looking at it, its order, its groups, holding and tidying."""
