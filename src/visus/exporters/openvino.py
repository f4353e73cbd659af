"""OpenVINO: an .xml file with its weights in a .bin beside it, made of the ONNX file, for Intel's processors."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visus.core.deployment import Contract, Deployed
from visus.core.errors import IntegrityError, first_line, needs
from visus.exporters import Exporter
from visus.exporters import onnx as origin
from visus.exporters._program import contract_beside, impossible, stamp


def export(module: Deployed, example: Tensor, contract: Contract, path: Path) -> Contract:
    """Write the model, its weights, and its contract beside them.

    Raises:
        UsageError: an optional library is missing; the network cannot be written.
    """
    library = _library()
    draft = path.with_name("draft.onnx")
    written = origin.export(module, example, contract, draft)
    try:
        model = library.convert_model(str(draft))
        for node in model.get_ops():
            if node.get_type_name() == "TopK":
                node.set_attribute("stable", True)  # of equal ones the first, as ONNX has it
        library.save_model(model, str(path), compress_to_fp16=False)
    except Exception as error:  # it raises classes of its own
        raise impossible(contract, error) from error
    finally:
        draft.unlink()
    release = library.__version__.partition("-")[0]
    contract = written.model_copy(update={"format": f"OpenVINO {release}, from {written.format}"})
    stamp(path, contract)
    return contract


def load(path: Path) -> OpenVinoRuntime:
    """Return a model in OpenVINO.

    Raises:
        UsageError: OpenVINO is missing.
        DataError: its contract does not lie beside it.
        IntegrityError: it cannot be run.
    """
    return OpenVinoRuntime(path, contract_beside(path)[0])


class OpenVinoRuntime:
    """A model in OpenVINO, on the processor, in float32: its usual precision is the fastest one at hand."""

    def __init__(self, path: Path, contract: Contract) -> None:
        self.contract, self.threads = contract, 1
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        try:
            core = _library().Core()
            self.model = core.compile_model(core.read_model(str(path)), "CPU", settings)
        except RuntimeError as error:
            raise IntegrityError("EXP-005", f"{path}: OpenVINO cannot run it", where=first_line(error),
                                 fix="visus export MODEL --to openvino writes it anew") from error  # fmt: skip

    def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
        """Return the outputs of a batch of pictures by name."""
        said = self.model(pictures.contiguous().numpy())
        return {name: torch.from_numpy(said[i].copy()) for i, name in enumerate(self.contract.outputs)}


def _recognises(start: bytes) -> bool:
    """Tell an XML file whose outermost element is a net."""
    return start.startswith(b"<?xml") and b"<net " in start


def _library() -> Any:
    try:
        return import_module("openvino")
    except ImportError as error:
        raise needs("openvino", "onnx,openvino") from error


EXPORTER = Exporter(".xml", export, stamp, load, _recognises)
