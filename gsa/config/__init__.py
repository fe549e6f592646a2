"""``Params``: the typed mirror of params.yaml. ``load_params`` is its only reader.

Defaults live in params.yaml alone, never here.
"""

from gsa.config.load import load_params
from gsa.config.params import Params, select
from gsa.config.sections import (
    AgentParams,
    BCParams,
    CollectDataParams,
    ConvertParams,
    ExploreDataParams,
    GuidanceParams,
    OptimizerParams,
    Recompute,
    RenderParams,
    TDMPC2Params,
    WorldModelParams,
)

__all__ = [
    "AgentParams",
    "BCParams",
    "CollectDataParams",
    "ConvertParams",
    "ExploreDataParams",
    "GuidanceParams",
    "OptimizerParams",
    "Params",
    "Recompute",
    "RenderParams",
    "TDMPC2Params",
    "WorldModelParams",
    "load_params",
    "select",
]
