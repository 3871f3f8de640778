"""Projects and their configs: training here, or as a job."""
