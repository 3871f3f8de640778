"""Which variables of the submitting shell go with a job.

A job needs what Python, CUDA and the training libraries read, and nothing of
the desktop it was submitted from. So an allowlist is recorded, and of that
nothing which looks secret: a spec is copied about, shown by `job show` and kept
for ever. Which cards a job sees (``CUDA_VISIBLE_DEVICES``) is the dispatcher's to say.

    recorded    NAMES, and what begins with one of PREFIXES
    withheld    of these, what `looks_secret` or is no UTF-8; `--env NAME` records it all the same
    not asked   everything else

Also reads ``--env`` and ``--env-file``, and tells when a command line seems to
hold a secret. Pure, but for reading the file.
"""

from __future__ import annotations

from forgather_spool.document import MAX_DOCUMENT_BYTES
from forgather_spool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NAMES = _words(
    "PATH LANG LANGUAGE TZ TERM COLORTERM TMPDIR VIRTUAL_ENV LD_LIBRARY_PATH LIBRARY_PATH CPATH "
    "CUDA_HOME CUDA_PATH CUDA_ROOT CUDA_LAUNCH_BLOCKING CUDA_CACHE_PATH CUDA_MODULE_LOADING "
    "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE "
    "HTTP_PROXY HTTPS_PROXY FTP_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy ftp_proxy all_proxy no_proxy "
    "XDG_CACHE_HOME XDG_DATA_HOME HUGGINGFACE_HUB_CACHE NLTK_DATA TF_CPP_MIN_LOG_LEVEL"
)
PREFIXES = tuple(
    _words(
        "LC_ CONDA_ MAMBA_ PYTHON PYTORCH_ TORCH TRITON_ NCCL_ GLOO_ UCX_ FI_ OMP_ MKL_ OPENBLAS_ NUMEXPR_ KMP_ "
        "XLA_ JAX_ CUBLAS_ CUDNN_ HF_ TRANSFORMERS_ TOKENIZERS_ DATASETS_ ACCELERATE_ DEEPSPEED_ FSDP_ "
        "WANDB_ MLFLOW_ COMET_ NEPTUNE_ CLEARML_ TENSORBOARD_ FORGATHER_"
    )
)
NEVER = _words(  # ours, and different for each job or for the dispatcher
    "FORGATHER_HOME FORGATHER_HOST FORGATHER_HOST_KIND FORGATHER_NO_WAKE FORGATHER_DEBUG FORGATHER_IDLE_S "
    "FORGATHER_SCOPE FORGATHER_JOB_ID FORGATHER_ATTEMPT FORGATHER_ARRAY_ID FORGATHER_ARRAY_INDEX FORGATHER_ARRAY_SIZE"
)

_SECRET_WORDS = _words(
    "TOKEN SECRET SECRETS PASSWORD PASSWD PASSPHRASE PASS PWD CREDENTIAL CREDENTIALS APIKEY AUTH AUTHORIZATION COOKIE"
)
_KEY_OF = _words("API ACCESS PRIVATE SECRET SIGNING ENCRYPTION ACCOUNT SERVICE")  # API_KEY, not SORT_KEY
_WHERE_NOT_WHAT = _words("PATH FILE DIR DIRECTORY")  # HF_TOKEN_PATH says where it lies
_VOCABULARY = _words("PAD EOS BOS UNK MASK SEP CLS SPECIAL START END STOP IMAGE")  # a model's tokens
_SWITCHES = frozenset(("", "0", "1", "true", "false", "yes", "no"))  # HF_HUB_DISABLE_IMPLICIT_TOKEN=1
_TOKEN_BEGINNINGS = ("hf_", "sk-", "ghp_", "github_pat_", "glpat-", "xoxb-", "AKIA")
_MIN_TOKEN_CHARACTERS = 16


def chosen(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """What is recorded, and the names that would be but for looking secret (or not being UTF-8)."""
    recorded: dict[str, str] = {}
    withheld: list[str] = []
    for name in sorted(environ):
        if name in NEVER or not (name in NAMES or name.startswith(PREFIXES)):
            continue
        if looks_secret(name, environ[name]) or not _is_text(name + environ[name]):
            withheld.append(name)
        else:
            recorded[name] = environ[name]
    return recorded, withheld


def looks_secret(name: str, value: str) -> bool:
    """By its name (HF_TOKEN, WANDB_API_KEY), by a well-known beginning of the value, or by a password in a URL."""
    if value.lower() in _SWITCHES:
        return False
    return _is_secret_name(name) or _is_token(value) or _has_password(value)


def _is_secret_name(name: str) -> bool:
    words = name.upper().replace("-", "_").replace(".", "_").split("_")
    if words[-1] in _WHERE_NOT_WHAT or _VOCABULARY & set(words):
        return False
    if _SECRET_WORDS & set(words):
        return True
    return any(word in ("KEY", "KEYS") and words[i] in _KEY_OF for i, word in enumerate(words[1:]))


def _is_token(value: str) -> bool:
    return value.startswith(_TOKEN_BEGINNINGS) and len(value) >= _MIN_TOKEN_CHARACTERS and " " not in value


def _has_password(value: str) -> bool:
    """``https://user:password@host``."""
    _, found, rest = value.partition("://")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    return bool(found and at and ":" in user)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def not_recorded(withheld: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """The remarks, one line each, about what `chosen` withheld."""
    secret = [name for name in withheld if _is_text(name + environ[name])]
    garbled = [name for name in withheld if name not in secret]
    lines = []
    if secret:
        why = f"({'they look' if len(secret) > 1 else 'it looks'} secret)"
        lines.append(
            f"not recorded: {', '.join(secret)} {why}; --env {secret[0]} records it in a file only you can read"
        )
    if garbled:
        lines.append(f"not recorded: {', '.join(garbled)} (no UTF-8 text)")
    return lines


def asked(items: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """What ``--env K=V`` and ``--env NAME`` ask for; later ones win. Raises UsageError."""
    return dict(_pair(item, f"--env {item}", environ) for item in items)


def from_file(path: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What an ``--env-file`` holds.

    A line is K=V or NAME (copied from here), perhaps after ``export``; empty
    lines and those that begin with # say nothing; one pair of quotes around a
    value is taken off, and nothing else is interpreted.

    Raises:
        UsageError: the file cannot be read, or a line is none of these.
    """
    found: dict[str, str] = {}
    for number, raw in enumerate(_text_of(path).splitlines(), start=1):
        line = raw.strip().removeprefix("export ").strip()
        if not line or line.startswith("#"):
            continue
        name, value = _pair(line, f"{path}: line {number}", environ)
        if len(value) > 1 and "=" in line and value[0] in "'\"" and value[-1] == value[0]:
            value = value[1:-1]
        found[name.rstrip()] = value
    return found


def _text_of(path: str) -> str:
    hint = "a text file with lines such as SEED=1"
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise UsageError(f"--env-file {path}: {error.strerror}", hint=hint) from None
    except ValueError:
        raise UsageError(f"--env-file {path}: is not UTF-8 text", hint=hint) from None
    if len(data) > MAX_DOCUMENT_BYTES:
        raise UsageError(f"--env-file {path}: larger than {MAX_DOCUMENT_BYTES} bytes", hint=hint)
    return text


def _pair(item: str, where: str, environ: Mapping[str, str]) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not name or any(c.isspace() for c in name.strip()):
        raise UsageError(
            f"{where}: no name of a variable", hint="e.g. --env SEED=1, or --env HF_TOKEN to copy it from here"
        )
    if name == "CUDA_VISIBLE_DEVICES":
        raise UsageError(f"{where}: the dispatcher sets CUDA_VISIBLE_DEVICES", hint="ask for cards with --gpus N")
    if equals:
        return name, value
    if name not in environ:
        raise UsageError(
            f"{where}: {name} is not set here", hint=f"set and export it first, or give --env {name}=VALUE"
        )
    return name, environ[name]


def secret_in(argv: Sequence[str]) -> str | None:
    """The first word of a command line that seems to carry a secret, without its value: ``--api-key``."""
    for i, word in enumerate(argv):
        name, equals, value = word.partition("=")
        follows = argv[i + 1] if i + 1 < len(argv) else ""
        if equals and (_is_secret_name(name.lstrip("-")) or name.lstrip("-").lower() == "key"):
            if value.lower() not in _SWITCHES:
                return name
        elif word.startswith("-") and _is_secret_name(word.lstrip("-")):
            if follows.lower() not in _SWITCHES and not follows.startswith("-"):
                return word
        elif _is_token(value if equals else word):
            return f"{name}=..." if equals else f"{word[:4]}..."
        elif _has_password(word):
            return f"{word.partition('://')[0]}://..."
    return None
