"""The pre-trained world model of a model folder."""

from pathlib import Path

from gsa.config import WorldModelParams
from gsa.runs.checkpoint import load_weights
from gsa.world_model.model import WorldModel


def load_world_model(folder: Path, params: WorldModelParams) -> tuple[WorldModel, str]:
    """The pre-trained model and the sha256 of its weights.

    Raises:
        ArtifactError: missing, damaged, or made with another ``world_model`` section.
    """
    model = WorldModel(params)
    weights, meta = load_weights(folder, model.state_dict(), {"world_model": params.model_dump()})
    model.load_state_dict(weights)
    return model.eval(), str(meta["sha256"])
