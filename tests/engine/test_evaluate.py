"""Every sample is asked about once, in parts that fit, and the model is left as it was."""

import pytest
import torch

from tests.engine.test_memory import Judging, scarce
from tests.engine.toy import Points, Toy, network
from visus.core.errors import ResourceError
from visus.core.task import Batch
from visus.engine.device import Device
from visus.engine.evaluate import answers, judge

CPU = Device(torch.device("cpu"))


def asked(task, model, feed, micro=0):
    """Return ids and logits of all parts."""
    parts = list(answers(task, model, feed.sweep(), CPU, micro))
    return [name for part, _ in parts for name in part.ids], torch.cat([raw["logits"] for _, raw in parts])


@pytest.mark.parametrize("rows", [1, 3, 5, 16])
def test_answers_in_parts_that_fit_are_those_of_whole_batches(rows):
    model, feed = network(), Points(n=40)
    whole, split = asked(Toy(), model, feed), asked(Judging(rows), model, feed)
    assert whole[0] == split[0] == [f"point {i}" for i in range(40)]
    assert torch.allclose(whole[1], split[1], atol=1e-6)


def test_what_fitted_once_is_not_tried_larger_again():
    task = Judging(5)
    asked(task, network(), Points(n=48))
    assert task.seen == [4] * 12


def test_answers_are_float32_whatever_the_network_computes_in():
    assert asked(Toy(), network(dtype=torch.float64), Points(dtype=torch.float64))[1].dtype == torch.float32


def test_a_model_that_trained_trains_again_and_its_frozen_norm_does_not():
    model = network(norm=True).train()
    model[1].eval()
    judge(Toy(), model, Points(), CPU)
    assert (model.training, model[1].training) == (True, False)


def test_a_model_is_put_back_when_nobody_wants_the_rest():
    model = network().train()
    some = answers(Toy(), model, Points().sweep(), CPU)
    next(some)
    assert not model.training
    some.close()
    assert model.training


def test_a_picture_that_does_not_fit_is_named():
    with pytest.raises(ResourceError) as error:
        judge(Judging(0), network(), Points(), CPU)
    assert "point 0" in str(error.value)


class Tight(Batch):
    """Rows of which no more than four fit on the device."""

    def to(self, *where):
        if len(self) > 4:
            raise scarce()
        return super().to(*where)


def test_a_batch_that_does_not_fit_on_the_device_is_moved_in_parts():
    batches = [Tight(**vars(batch)) for batch in Points(n=32).sweep()]
    parts = [len(part) for part, _ in answers(Toy(), network(), batches, CPU)]
    assert parts == [4] * 8
