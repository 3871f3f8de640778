"""What forgather-spool costs, as ratios against a peer or a floor measured in the same run.

A figure in milliseconds says how busy the machine was; a ratio says how good we
are. So whatever is compared is measured in turns, round after round: noise then
falls on both sides. `measure` does that, `row` holds a figure with its bar, each
other module one question, and `python -m benchmarks` runs them.
"""
