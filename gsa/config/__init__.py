"""``Params``: the typed mirror of params.yaml. ``load_params`` is its only reader.

Defaults live in params.yaml alone, never here.
"""

from gsa.config.learners import (
    BCParams,
    DreamerMethod,
    DreamerParams,
    DrQv2Method,
    DrQv2Params,
    GSAMethod,
    GSAParams,
    GuidanceParams,
    MethodParams,
)
from gsa.config.load import load_params, parse_settings, variant
from gsa.config.params import Params, select
from gsa.config.sections import (
    CollectDataParams,
    ConvertParams,
    ExploreDataParams,
    MachineParams,
    OptimizerParams,
    OwnTaskParams,
    Recompute,
    RenderParams,
    TDMPC2Params,
    WorldModelParams,
)

__all__ = [
    "BCParams",
    "CollectDataParams",
    "ConvertParams",
    "DrQv2Method",
    "DrQv2Params",
    "DreamerMethod",
    "DreamerParams",
    "ExploreDataParams",
    "GSAMethod",
    "GSAParams",
    "GuidanceParams",
    "MachineParams",
    "MethodParams",
    "OptimizerParams",
    "OwnTaskParams",
    "Params",
    "Recompute",
    "RenderParams",
    "TDMPC2Params",
    "WorldModelParams",
    "load_params",
    "parse_settings",
    "select",
    "variant",
]
