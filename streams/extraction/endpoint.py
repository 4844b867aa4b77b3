"""Clients for OpenAI-compatible endpoints that reach the configured address and nothing else."""

from __future__ import annotations

import ssl

import openai

NO_KEY = "not-needed"
"""Sent where no key is configured: the client insists on one, self-hosted endpoints do not."""


def _timeout(timeout_s: float) -> openai.Timeout:
    return openai.Timeout(timeout_s, connect=min(timeout_s, 5.0))


def async_client(base_url: str, api_key: str | None, timeout_s: float) -> openai.AsyncOpenAI:
    """A client without retries: retrying, pausing and parking belong to the caller.

    `trust_env=False` keeps proxy variables from leading requests elsewhere. Certificate authorities are the
    system's, or the operator's own by SSL_CERT_FILE or SSL_CERT_DIR.
    """
    timeout = _timeout(timeout_s)
    http = openai.DefaultAsyncHttpxClient(verify=ssl.create_default_context(), trust_env=False, timeout=timeout)
    return openai.AsyncOpenAI(base_url=base_url, api_key=api_key or NO_KEY, max_retries=0, timeout=timeout, http_client=http)


def sync_client(base_url: str, api_key: str | None, timeout_s: float) -> openai.OpenAI:
    """The same for threads."""
    timeout = _timeout(timeout_s)
    http = openai.DefaultHttpxClient(verify=ssl.create_default_context(), trust_env=False, timeout=timeout)
    return openai.OpenAI(base_url=base_url, api_key=api_key or NO_KEY, max_retries=0, timeout=timeout, http_client=http)
