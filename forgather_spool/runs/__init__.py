"""What training runs logged: finding it, reading it, saying it in a few lines, drawing it.

Any trainer's logs will do, as long as they are a `trainer_logs.json` or a
Hugging Face `trainer_state.json`. Only reads; knows nothing of jobs or click.
"""
