"""`curate push DIR REPO`: a finished corpus to the Hugging Face hub, with its data card.

What is uploaded is what a reader needs: the card, `data/`, the recipe and the manifest; and on request what was dropped and
edited. A file that is there already is not sent again, and what an earlier upload had of these and this one has not is deleted.
`recipe.yaml` and `manifest.json` name inputs and outputs by their full paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curate.errors import RunError, SpecError
from curate.pipeline import lockfile
from curate.storage.run_dir import CORPUS, DATA_CARD, DROPPED_AND_EDITED, LOCKFILE, MANIFEST
from curate.storage.store import is_url

_ALWAYS = (DATA_CARD, CORPUS, LOCKFILE, MANIFEST)


def push(directory: str, repo: str, *, public: bool = False, verdicts: bool = False, endpoint: str | None = None) -> str:
    """Upload a run, into a private repository unless it is to be `public` or is there already; the address of the commit.

    The token is that of `hf auth login`, or HF_TOKEN. Raises SpecError for what is no finished run on a disk, or no name of a
    repository, RunError when the hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    if is_url(directory):
        raise SpecError(f"{directory!r} is a URL, and uploads start from a disk. Copy it first.")
    store, _ = lockfile.opened(directory)
    if not store.exists(MANIFEST):
        raise SpecError(f"{directory!r} is not complete, and half a corpus is not to be published. 'curate run' continues it.")
    if not store.exists(DATA_CARD):
        raise SpecError(f"{directory!r} has no {DATA_CARD}: an earlier version made it. Run its recipe again, or write one.")
    patterns: Sequence[str] = (*_ALWAYS, *DROPPED_AND_EDITED) if verdicts else _ALWAYS
    api = HfApi(endpoint=endpoint)
    # Those of its HTTP client as well, whichever that is.
    refusals: tuple[Any, ...] = (*HfHubHTTPError.__bases__, OSError, LocalTokenNotFoundError)
    try:
        api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo, folder_path=directory, repo_type="dataset", allow_patterns=list(patterns),
            delete_patterns=[CORPUS, *DROPPED_AND_EDITED], commit_message="Upload with curate",
        )  # fmt: skip
    except HFValidationError as error:
        raise SpecError(f"{repo!r} is no name of a repository, such as 'me/my-corpus': {error}") from error
    except refusals as error:
        raise RunError(
            f"{repo!r} was not uploaded: {error}. If you are not logged in: 'hf auth login', or set HF_TOKEN."
        ) from error
    return str(commit.commit_url)
