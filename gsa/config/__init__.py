"""``Params``: the typed mirror of params.yaml. ``load_params`` is its only reader.

Defaults live in params.yaml alone, never here.
"""

from gsa.config.learners import BCParams, DreamerParams, DrQv2Params, GuidanceParams, RetnormParams
from gsa.config.load import load_params, parse_settings, variant
from gsa.config.params import Params, select
from gsa.config.sections import (
    CollectDataParams,
    ConvertParams,
    ExploreDataParams,
    FloorsParams,
    MachineParams,
    OptimizerParams,
    OwnTaskParams,
    ProbeActionsParams,
    Recompute,
    RenderParams,
    TDMPC2Params,
    WorldModelParams,
)
