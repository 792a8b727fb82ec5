"""A client for JSON over HTTP with concurrent requests. Transient errors are told from permanent ones.

A missing connection, too many requests and a server error are a TransientError, which is retried. Any other status than 200 is
a SpecError, because the same request would get the same response again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any

from curate.errors import SpecError, TransientError

_TIMEOUT_S = 600.0
_MAY_PASS = (408, 425, 429)


class JsonServer:
    """The server at an address, which `option` of a stage names."""

    def __init__(self, option: str, address: str, requests_at_once: int, key: str | None = None) -> None:
        import httpx

        self._option, self._address = option, address.rstrip("/")
        self._client = httpx.Client(
            base_url=self._address + "/",
            timeout=_TIMEOUT_S,
            limits=httpx.Limits(max_connections=requests_at_once, max_keepalive_connections=requests_at_once),
            headers={"Authorization": f"Bearer {key}"} if key else None,
        )
        self._pool = ThreadPoolExecutor(requests_at_once)

    def get(self, path: str) -> Any:
        return self._request("GET", path, None)

    def post(self, path: str, bodies: Sequence[Mapping[str, Any]]) -> list[Future[Any]]:
        """The answers to all bodies, in their order. Once one has failed no more are asked for, and those are cancelled.

        Requests begin in order, so what has failed comes before what is cancelled.
        """
        asked = [self._pool.submit(self._request, "POST", path, body) for body in bodies]
        for future in wait(asked, return_when=FIRST_EXCEPTION).not_done:
            future.cancel()
        wait(asked)
        return asked

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        import httpx

        where = f"{self._option}: {self._address}/{path}"
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise TransientError(f"{where} does not answer: {error}") from error
        if answer.status_code in _MAY_PASS or answer.status_code >= 500:
            raise TransientError(f"{where} answers {answer.status_code}: {answer.text[:300]}")
        if answer.status_code != 200:
            raise SpecError(f"{where} refuses ({answer.status_code}): {answer.text[:300]}")
        try:
            return answer.json()
        except ValueError as error:
            raise SpecError(f"{where} answers with something that is not JSON: {answer.text[:300]}") from error

    def close(self) -> None:
        self._pool.shutdown()
        self._client.close()
