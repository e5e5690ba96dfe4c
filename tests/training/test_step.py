"""One step: a single graph, no waiting for the device, the same gradients when activations are computed again."""

from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from speechssl.config import (
    ContextConfig,
    ContrastiveConfig,
    DropoutConfig,
    FeatureEncoderConfig,
    MaskingConfig,
    ModelConfig,
    PretrainConfig,
    QuantizerConfig,
    TrainingConfig,
)
from speechssl.data.batches import Batch
from speechssl.frames import num_frames
from speechssl.objectives.contrastive import ContrastiveDraw, ContrastiveModel
from speechssl.tasks.pretraining import PretrainTask
from speechssl.training.loop import Trainer
from speechssl.training.meter import Meter
from speechssl.training.processes import make_fabric
from speechssl.training.resume import RunData

LAYERS = [(16, 10, 5), (16, 8, 8), (24, 8, 8)]
SAMPLES = 16_000
OBJECTIVE = ContrastiveConfig(
    quantizer=QuantizerConfig(num_entries=8, dim=8),
    masking=MaskingConfig(time_prob=0.5, time_length=3),
    final_dim=8,
    num_negatives=5,
)
NOISY = DropoutConfig(features=0.1, quantizer_input=0.1, hidden=0.1, attention=0.1, layer_drop=0.3)


def config_of(norm: Literal["group", "layer"] = "group", squeeze: int = 1) -> ModelConfig:
    return ModelConfig(
        feature_encoder=FeatureEncoderConfig(conv_layers=LAYERS, norm=norm, bias=norm == "layer"),
        context=ContextConfig(
            num_layers=3, dim=32, ffn_dim=48, num_heads=4, pos_conv_kernel=16, pos_conv_groups=2, squeeze=squeeze
        ),
    )


Made = tuple[ContrastiveModel, Tensor, ContrastiveDraw]


def make(norm: Literal["group", "layer"] = "group", squeeze: int = 1) -> Made:
    torch.manual_seed(0)
    model = ContrastiveModel(config_of(norm, squeeze), OBJECTIVE, NOISY).train()
    draw = model.draw(2, num_frames(SAMPLES, LAYERS), torch.Generator().manual_seed(0), update=0)
    return model, 0.1 * torch.randn(2, SAMPLES), draw


@pytest.mark.parametrize("squeeze", [1, 2])
def test_the_forward_pass_is_one_graph(squeeze: int) -> None:
    model, audio, draw = make(squeeze=squeeze)
    torch._dynamo.reset()
    with torch.autocast("cpu", torch.bfloat16):  # in which the positional convolution is tried first
        found = torch._dynamo.explain(model)(audio, draw)
    assert (found.graph_count, found.graph_break_count) == (1, 0), [reason.reason for reason in found.break_reasons]


@pytest.mark.slow
def test_the_compiled_step_computes_the_same() -> None:
    model, audio, draw = make()
    model.eval()
    expected = model(audio, draw)
    expected.loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.compile(dynamic=True)
    found = model(audio, draw)
    found.loss.backward()
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-5, atol=0)
    for name, parameter in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_gradients_are_the_same_when_activations_are_computed_again(norm: Literal["group", "layer"]) -> None:
    model, audio, draw = make(norm)
    found: list[dict[str, Tensor]] = []
    kept: list[int] = []
    for what in ("none", "context", "all"):
        model.encoder.recompute(what)  # type: ignore[arg-type]
        model.zero_grad()
        sizes: list[int] = []
        torch.manual_seed(5)
        with torch.autograd.graph.saved_tensors_hooks(counting(sizes), lambda x: x):
            loss = model(audio, draw).loss
        loss.backward()
        kept.append(sum(sizes))
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert kept[0] > kept[1] > kept[2]
    for gradients in found[1:]:
        assert gradients.keys() == found[0].keys()
        assert all(torch.equal(gradients[name], found[0][name]) for name in gradients)


def counting(sizes: list[int]) -> Any:
    """Takes down the size of every tensor that is kept for the backward pass."""

    def pack(x: Tensor) -> Tensor:
        sizes.append(x.numel())
        return x

    return pack


@pytest.mark.gpu
def test_the_host_never_waits_for_the_device() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    training = TrainingConfig(accelerator="cuda", devices=1, precision="bf16")
    config = PretrainConfig(model=config_of(), objective=OBJECTIVE, dropout=NOISY, training=training)
    fabric = make_fabric(training, 1, skips_parameters=True)
    fabric.launch()
    task = PretrainTask(config, make()[0], dev=None)
    plan: Any = SimpleNamespace(num_streams=1, sample_rate=16_000)
    trainer = Trainer(config, task, RunData(plan), fabric, {})
    module, optimizer = trainer.set_up(None)
    parameters = list(module.parameters())
    batches = [Batch([], torch.randn(2, SAMPLES).pin_memory(), torch.full((2,), SAMPLES), [], stream=0)] * 2
    meter = Meter()
    for update in range(4):
        # The first update prepares kernels and the optimiser's state.
        torch.cuda.set_sync_debug_mode("error" if update else "default")
        try:
            norm = trainer.normalize_gradients(parameters, trainer.backward(module, batches, update, meter))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            meter.add_update(norm)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert meter.figures(fabric, 0.0, 0)["loss"] > 0
