"""The views. A new one is a file here and a line below."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from projections.view import View, ViewSettings
from projections.views.audit import AuditView
from projections.views.brain import BrainView
from projections.views.capture import CaptureView
from projections.views.current import CurrentView
from projections.views.graph import GraphView
from projections.views.mem0 import Mem0View
from projections.views.parked import ParkedView
from projections.views.thermal import ThermalView

REGISTRY: dict[str, Callable[[ViewSettings], View]] = {
    "thermal": ThermalView,
    "graph": GraphView,
    "audit": AuditView,
    "parked": ParkedView,
    "current": CurrentView,
    "brain": BrainView,
    "capture": CaptureView,
    "mem0": Mem0View,
}


def build_views(settings: ViewSettings, names: Iterable[str] | None = None) -> dict[str, View]:
    """The named views (all of them by default). Raises KeyError with the known names for an unknown one."""
    wanted = list(REGISTRY if names is None else names)
    unknown = [name for name in wanted if name not in REGISTRY]
    if unknown:
        raise KeyError(f"no view called {', '.join(unknown)}; there are {', '.join(REGISTRY)}")
    return {name: REGISTRY[name](settings) for name in wanted}
