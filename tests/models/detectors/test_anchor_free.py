"""visus' own detector: four sizes, and a network that leaves the house as it is."""

from __future__ import annotations

import torch

from visus.core.recipe import ModelSettings
from visus.models.building import build
from visus.models.detectors.anchor_free import SIZES
from visus.models.origins import standing


def test_every_scale_is_larger_than_the_one_before() -> None:
    with torch.device("meta"):
        models = [standing.network("anchor_free", 3, 3, (64, 64), {"scale": scale}) for scale in SIZES]
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in models]
    assert sizes == sorted(set(sizes))


def test_it_is_exported_for_all_batches_and_sizes_that_strides_divide_without_operators_of_our_own() -> None:
    model = build(ModelSettings(name="anchor_free"), 3, 3, (96, 160)).eval()
    batch, rows, columns = (torch.export.Dim(name, min=2, max=40) for name in ("batch", "rows", "columns"))
    shapes = ({0: batch, 2: 32 * rows, 3: 32 * columns},)
    exported = torch.export.export(model, (torch.rand(2, 3, 96, 160),), dynamic_shapes=shapes)
    called = [node.target for node in exported.graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
    assert called and all(operator.namespace == "aten" for operator in called)
    images = torch.rand(3, 3, 64, 256)
    torch.testing.assert_close(exported.module()(images), model(images))
