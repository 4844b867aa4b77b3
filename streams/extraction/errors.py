"""What can go wrong while facts are extracted or texts embedded.

    ExtractionError              base; retried, then parked with its reason
    ├── MalformedAnswer          the model answered, but not what was asked for
    ├── ModelTimeout             no answer within the time allowed
    ├── ModelFailure             the endpoint refused or broke (most HTTP 4xx and 5xx, a wrong vector size)
    └── ModelUnavailable         an outage: refused or reset connection, DNS, 429, 502, 503, 504

`ModelUnavailable` means that the work itself is not at fault: the caller pauses and resumes and never
parks for it. The other three count as attempts at this turn.

A `reason` is safe to log, store and show: it never holds conversation text, a fact, an owner's id, an
address or a credential. Errors of other libraries do hold such things, so they are mapped here and never
chained (`raise ... from None`).
"""

from __future__ import annotations

import json

import openai

OUTAGE_STATUSES = frozenset({429, 502, 503, 504})
"""HTTP statuses that say "not now" about the endpoint, and nothing about the request."""

_NO_CONNECTION = ("ConnectTimeout", "PoolTimeout")


class ExtractionError(Exception):
    """Extraction of one turn, or embedding of some texts, did not succeed.

    `reason` is one short content-free sentence; `str(error)` is the same.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MalformedAnswer(ExtractionError):
    """The model's answer could not be read as a list of facts."""


class ModelTimeout(ExtractionError):
    """The model did not answer within the time allowed."""


class ModelFailure(ExtractionError):
    """The endpoint answered with an error, or with something other than was asked for."""


class ModelUnavailable(ExtractionError):
    """The endpoint is away. Pause, resume later, park nothing."""


def from_client_error(error: BaseException, what: str) -> ExtractionError:
    """Map an error of the OpenAI client to ours.

    `what` names the endpoint in the reason, for example "language model". Only the error's type and its
    HTTP status go into the reason, never its text: endpoints quote the prompt in their errors.
    """
    if isinstance(error, ExtractionError):
        return error
    # Order matters: the client's timeout is a subclass of its connection error. Causes are told by name,
    # because the client has changed its HTTP library before.
    if isinstance(error, openai.APITimeoutError) and type(error.__cause__).__name__ in _NO_CONNECTION:
        return ModelUnavailable(f"the {what} accepts no connection ({type(error.__cause__).__name__})")
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return ModelTimeout(f"the {what} did not answer within the time allowed")
    if isinstance(error, openai.APIStatusError):
        return _from_status(error.status_code, what)
    if isinstance(error, openai.APIConnectionError):
        cause = type(error.__cause__).__name__ if error.__cause__ else type(error).__name__
        return ModelUnavailable(f"the {what} cannot be reached ({cause})")
    if isinstance(error, ConnectionError):
        return ModelUnavailable(f"the {what} cannot be reached ({type(error).__name__})")
    if isinstance(error, json.JSONDecodeError | openai.APIResponseValidationError):
        return ModelFailure(f"the {what} sent a response that is not the OpenAI protocol")
    return ModelFailure(f"the {what} client failed ({type(error).__name__})")


def _from_status(status: int, what: str) -> ExtractionError:
    if status in OUTAGE_STATUSES:
        return ModelUnavailable(f"the {what} is away (HTTP {status})")
    if status == 408:
        return ModelTimeout(f"the {what} reported a timeout (HTTP 408)")
    return ModelFailure(f"the {what} answered HTTP {status}")
