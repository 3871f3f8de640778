"""Snapshots: a job runs from the commit and the changes that lay in its directory when it was submitted.

    submit   `take`    a record of it in the home, then the files as git objects under a ref, then the spec
    start    `enter`   a git worktree of its own with those files; the command is executed there
    end      `sweep`   a worktree that holds nothing new is removed; refs that no job names any more as well

The state is a commit in the user's own repository, on top of the one that was
checked out: tracked changes and new files, nothing that .gitignore names. The
ref keeps git from ever collecting it. In the worktree HEAD is the commit that
was checked out, and the changes are changes: `git diff HEAD` says the same there.

Needs the git program. Knows no dispatcher and no runner.
"""
