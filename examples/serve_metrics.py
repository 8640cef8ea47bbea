# SPDX-License-Identifier: Apache-2.0
"""What serve.py counts, in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

from collections import Counter, defaultdict

BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)


class Metrics:
    """Counters of one process; `places` are those taken now. For one thread."""

    def __init__(self) -> None:
        self.places = 0
        self._requests: Counter[tuple[str, int]] = Counter()
        self._errors: Counter[tuple[str, str]] = Counter()
        self._bytes: Counter[tuple[str, str]] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._within: Counter[tuple[str, float]] = Counter()

    def count(self, operation: str, status: int, error: str, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """One request. error: a class, "" where there was none."""
        self._requests[operation, status] += 1
        if error:
            self._errors[operation, error] += 1
        self._bytes[operation, "in"] += bytes_in
        self._bytes[operation, "out"] += bytes_out
        self._seconds[operation] += seconds
        for bound in BUCKETS_S:
            self._within[operation, bound] += seconds <= bound

    def text(self) -> str:
        """All of it."""
        lines = _family("jahp_requests_total", "counter", "Requests by operation and status")
        lines += [f'jahp_requests_total{{operation="{o}",status="{s}"}} {n}' for (o, s), n in sorted(self._requests.items())]
        lines += _family("jahp_errors_total", "counter", "Requests that were refused, by the class of the error")
        lines += [f'jahp_errors_total{{operation="{o}",error="{e}"}} {n}' for (o, e), n in sorted(self._errors.items())]
        lines += _family("jahp_bytes_total", "counter", "Bytes of bodies, in and out")
        lines += [f'jahp_bytes_total{{operation="{o}",direction="{d}"}} {n}' for (o, d), n in sorted(self._bytes.items())]
        lines += _family("jahp_request_seconds", "histogram", "From a request's headers to its answer")
        for operation in sorted(self._seconds):
            total = sum(n for (o, _), n in self._requests.items() if o == operation)
            for bound in BUCKETS_S:
                lines.append(f'jahp_request_seconds_bucket{{operation="{operation}",le="{bound:g}"}} {self._within[operation, bound]}')
            lines.append(f'jahp_request_seconds_bucket{{operation="{operation}",le="+Inf"}} {total}')
            lines.append(f'jahp_request_seconds_sum{{operation="{operation}"}} {self._seconds[operation]:.6f}')
            lines.append(f'jahp_request_seconds_count{{operation="{operation}"}} {total}')
        lines += _family("jahp_places_taken", "gauge", "Requests that are read, wait or are worked on")
        lines.append(f"jahp_places_taken {self.places}")
        return "\n".join(lines) + "\n"


def _family(name: str, kind: str, help_text: str) -> list[str]:
    return [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
