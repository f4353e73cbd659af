"""A device is prepared, and the process is what it was afterwards."""

import pytest
import torch

from tests.engine.toy import recipe
from visus.core.errors import ResourceError, UsageError
from visus.engine import device
from visus.engine.device import Device, memory_failure, opened, out_of_memory, short_of_memory


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_threads_and_determinism_are_put_back(mode):
    threads = torch.get_num_threads()
    torch.set_deterministic_debug_mode(mode)
    try:
        with opened(recipe(threads=threads + 1)):
            assert torch.get_num_threads() == threads + 1
            assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == threads
        assert torch.get_deterministic_debug_mode() == mode
    finally:
        torch.set_deterministic_debug_mode(0)


def test_they_are_put_back_after_an_error_too():
    with pytest.raises(ZeroDivisionError), opened(recipe()):
        _ = 1 / 0
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(UsageError), opened(recipe(device="cuda")):
        pass


@pytest.mark.parametrize(
    ("flags", "fast"),
    [({"avx2"}, False), ({"avx512f"}, False), ({"avx512_bf16"}, True), ({"amx_bf16"}, True), ({"asimd", "bf16"}, True)],
)
def test_bfloat16_is_fast_where_the_processor_says_so(monkeypatch, flags, fast):
    monkeypatch.setattr(device, "processor_flags", lambda: flags)
    assert device.fast_bfloat16("cpu") is fast


def test_a_process_alone_gathers_its_own_rows():
    rows = torch.arange(3)
    alone = Device(torch.device("cpu"))
    assert alone.gather({"rows": rows})[0]["rows"] is rows
    assert (alone.most([3, 1]), alone.texts("a"), alone.agreed("b")) == ([3, 1], ["a"], "b")


def test_pytorchs_own_want_of_memory_is_known():
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 60)
    assert out_of_memory(error.value)
    assert memory_failure(error.value)
    assert not memory_failure(ValueError("out of memory"))


def precisions():
    return [k.fp32_precision for k in (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)]


def test_float32_on_cuda_is_float32_and_what_was_set_before_comes_back():
    before = precisions()
    with opened(recipe(precision="float32")):
        assert precisions() == ["ieee"] * 3
    assert precisions() == before
    assert "ieee" not in before[1:]  # else nothing was shown: cuDNN rounds to TF32 by default


def test_what_bfloat16_leaves_in_float32_is_as_fast_as_the_user_lets_it_be():
    before = precisions()
    with opened(recipe(precision="bfloat16")):
        assert precisions() == before


def test_memory_that_cannot_be_healed_is_an_error_one_can_act_on():
    with pytest.raises(ResourceError) as error, short_of_memory("nothing was written", "less else running"):
        raise RuntimeError("could not create a memory object")
    assert (error.value.code, error.value.exit, error.value.fix) == ("FIT-009", 4, "less else running")


def test_other_faults_are_not_called_want_of_memory():
    with pytest.raises(RuntimeError, match="a fault"), short_of_memory("", ""):
        raise RuntimeError("a fault")
