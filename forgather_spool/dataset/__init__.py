"""Data sets as a training script sees them: by position, shuffled globally, resumed exactly.

`rows.py` says what a data set is, `order.py` in which sequence its rows come,
`walk.py` which of them one reader takes. Needs the extra `dataset`.
"""
