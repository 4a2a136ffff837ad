from __future__ import annotations

from ..adapters.conftest import few_queries as few_queries
