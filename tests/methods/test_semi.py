"""Fine-tuning on train-semi: what is trained with which rate, that it learns, stops and goes on."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from ranks import run_ranks
from torch import Tensor, nn

from imagenets import masks
from imagenets.core.distributed import rank
from imagenets.data.augment import normalize, short_side
from imagenets.data.loader.crops import ShortSide
from imagenets.data.loader.order import by_shape
from imagenets.errors import CorruptError, MissingError, UsageError
from imagenets.methods.semi import STAGES, segment, train
from imagenets.methods.semi.networks import ConvNeXtNet, make_network
from imagenets.methods.semi.presets import PRESETS, Config, make_config, preset_for
from imagenets.methods.semi.run import SemiRun, load_network, run_settings
from imagenets.methods.semi.score import predictions, score_run
from imagenets.methods.semi.start import start
from imagenets.models.convnext import SIZES as CONVNEXTS
from imagenets.models.rfnext import RFConvNeXt
from imagenets.models.vit import SIZES as VITS
from imagenets.training import loop
from imagenets.training.optimizers import ScaledAdamW, warm_cosine_rate
from imagenets.training.stage import Stages

SMALL = Config(
    "resnet18w05", epochs=2, batch=3, warmup=1, blr=0.05, crop=32, side=32, decays=(0.9,), seed=1
)


@pytest.fixture
def small_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same networks, narrow and shallow: a training run takes seconds."""
    monkeypatch.setitem(VITS, "vit_small_patch16", (32, 2, 2))
    monkeypatch.setitem(CONVNEXTS, "convnext_tiny", ((1, 1, 2, 1), (8, 16, 32, 64)))


def job(root: Path, out: Path, config: Config = SMALL, **more: object) -> SemiRun:
    return SemiRun(root, "3", out, config, torch.device("cpu"), **more)  # type: ignore[arg-type]


def run_stages(run: SemiRun, *names: str) -> None:
    Stages(STAGES, run).run(names)


def state_of(run: SemiRun) -> dict[str, Tensor]:
    return loop.trained_state(run, "train", run.config.epochs)


def test_rates_and_decay_by_layer() -> None:
    network = make_network("vit_small_patch16", 3)
    config = Config("vit_small_patch16", decays=(0.5,), weight_decay=0.05)
    optimizer = ScaledAdamW(train.parameter_groups(network, config), 1e-3, 0.05)
    found = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(found) == len(list(network.parameters()))
    vit = network.backbone
    want = {
        "pos_embed": (0.5**13, 0.05),
        "patch_embed.proj.bias": (0.5**13, 0.0),
        "blocks.0.attn.qkv.weight": (0.5**12, 0.05),
        "blocks.11.norm1.weight": (0.5, 0.0),
    }
    for name, (scale, decay) in want.items():
        group = found[id(vit.get_parameter(name))]
        assert (group["scale"], group["weight_decay"]) == (scale, decay), name
    head = found[id(network.get_parameter("head.weight"))]
    assert (head["scale"], head["weight_decay"]) == (1.0, 0.05)


def test_the_second_layer_group_has_its_own_decay_and_multiplier() -> None:
    network = make_network("rfconvnext_tiny_rfsearch", 3)
    config = replace(PRESETS["rfsearch"], weight_decay=0.01)
    groups = train.parameter_groups(network, config)
    scales = {id(p): group["scale"] for group in groups for p in group["params"]}
    place = "stages.1.blocks.0.conv_dw"
    assert scales[id(network.backbone.get_parameter(f"{place}.weight"))] == 0.6 ** (22 - 5)
    weights = network.backbone.get_parameter(f"{place}.sample_weights")
    assert scales[id(weights)] == 10 * 0.9 ** (22 - 5)
    weights.requires_grad_(False)
    left = {id(p) for group in train.parameter_groups(network, config) for p in group["params"]}
    assert id(weights) not in left


def test_each_group_takes_adamws_step_with_its_own_rate() -> None:
    ours, theirs = (torch.tensor([1.0, -2.0], requires_grad=True) for _ in range(2))
    still = torch.ones(2, requires_grad=True)
    scaled = ScaledAdamW(
        [{"params": [ours], "scale": 0.25}, {"params": [still], "scale": 0.0}], 0.1, 0.05
    )
    plain = torch.optim.AdamW([theirs], lr=0.025, weight_decay=0.05)
    for step in range(3):
        for value in (ours, theirs, still):
            value.grad = value.detach() ** 2 + step
        scaled.step()
        plain.step()
    torch.testing.assert_close(ours, theirs)
    assert torch.equal(still, torch.ones(2))
    assert [group["lr"] for group in scaled.param_groups] == [0.1, 0.1]


def test_the_rate_warms_up_and_follows_half_a_cosine() -> None:
    def rate(iteration: int) -> float:
        return warm_cosine_rate(iteration, 1000, base=1.0, final=0.1, warmup=0.05)

    assert [rate(0), rate(25), rate(50)] == pytest.approx([0, 0.5, 1])
    middle = 0.1 + 0.45 * (1 + math.cos(math.pi * 0.5))
    assert rate(525) == pytest.approx(middle)
    assert rate(999) == pytest.approx(0.1, abs=1e-5)
    assert warm_cosine_rate(0, 10, base=1.0, final=0.1, warmup=0) == 1


def batch(count: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, 32, 32, generator=generator)
    ids = torch.randint(0, 4, (count, 32, 32), generator=generator).to(torch.int16)
    ids[0, :, 5:] = 1000  # parts of which few pixels count weigh less
    return images, ids


def slopes(run: SemiRun, network: nn.Module, images: Tensor, ids: Tensor) -> tuple[float, Tensor]:
    network.zero_grad()
    loss = train.backward(run, network, images, ids)  # type: ignore[arg-type]
    found = [value.grad.flatten() for value in network.parameters() if value.grad is not None]
    return loss.item(), torch.cat(found)


@pytest.mark.usefixtures("small_nets")
@pytest.mark.parametrize("model", ["vit_small_patch16", "convnext_tiny"])
def test_a_step_in_parts_is_the_step_of_the_whole(model: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = make_network(model, 3)
    images, ids = batch()
    whole = slopes(job(tmp_path, tmp_path), network, images, ids)
    for parts in (2, 4):
        run = job(tmp_path, tmp_path, replace(SMALL, accumulate=parts))
        taken = slopes(run, network, images, ids)
        assert taken[0] == pytest.approx(whole[0], rel=1e-6)
        assert (taken[1] - whole[1]).norm() <= 1e-5 * whole[1].norm()


@pytest.mark.usefixtures("small_nets")
def test_the_loss_is_that_of_logits_at_twice_the_size(tmp_path: Path) -> None:
    network = make_network("convnext_tiny", 3).eval()
    images, ids = batch()
    logits = F.interpolate(network(images), scale_factor=2, mode="bilinear", align_corners=False)
    labels = F.interpolate(ids[:, None].float(), logits.shape[2:], mode="nearest")[:, 0].long()
    assert logits.shape[2:] == (8, 8)
    assert torch.equal(train.reduced(ids, 8, 8), labels)
    expected = F.cross_entropy(logits, labels, ignore_index=1000)
    found = train.backward(job(tmp_path, tmp_path), network, images, ids)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def pretrained(path: Path, model: str, prefix: str = "module.") -> dict[str, Tensor]:
    """Writes a checkpoint of a backbone, and a classifier of other classes."""
    torch.manual_seed(5)
    network = make_network(model, 7)
    state = {f"backbone.{n}": v for n, v in network.backbone.state_dict().items()}
    state["head.weight"] = torch.ones(4, network.backbone.channels[-1])
    torch.save({"model": {prefix + name: value for name, value in state.items()}}, path)
    return {name.removeprefix("backbone."): value for name, value in state.items()}


@pytest.mark.usefixtures("small_nets")
@pytest.mark.parametrize("model", ["resnet18w05", "vit_small_patch16", "convnext_tiny"])
def test_a_backbone_is_taken_over_and_a_classifier_is_not(model: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    given = pretrained(path, model)
    torch.manual_seed(6)
    network = make_network(model, 3)  # the classifier of the file would fit its head
    report = start(network, path)
    assert report is not None
    for name, value in network.backbone.state_dict().items():
        assert torch.equal(value, given[name])
    assert not any(name.startswith("backbone.") for name in report.missing)
    assert report.unused == ("module.head.weight",)
    heads = {name for name in network.state_dict() if not name.startswith("backbone.")}
    assert set(report.missing) == heads
    other = "convnext_tiny" if model == "resnet18w05" else "resnet18w05"
    with pytest.raises(UsageError, match=r"weights\.pt: .* weights of the backbone are missing"):
        start(make_network(other, 3), path)


@pytest.mark.usefixtures("small_nets")
def test_metas_convnext_starts_the_search(tmp_path: Path) -> None:
    """Its names, and one classifier that knows other classes."""
    plain = pretrained(tmp_path / "plain.pt", "convnext_tiny")
    theirs = {"norm.weight": torch.ones(64), "head.weight": torch.ones(7, 64)}
    for name, value in plain.items():
        name = re.sub(r"^stem\.", "downsample_layers.0.", name)
        name = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name)
        name = re.sub(r"\.blocks\.", ".", name).replace("conv_dw", "dwconv")
        theirs[re.sub(r"\.mlp\.fc(\d)\.", r".pwconv\1.", name)] = value
    theirs["head.weight"] = torch.ones(7, 64)
    torch.save({"model": theirs}, tmp_path / "meta.pt")
    network = make_network("rfconvnext_tiny_rfsearch", 3)
    report = start(network, tmp_path / "meta.pt")
    assert report is not None
    assert set(report.unused) == {"norm.weight", "head.weight"}
    for name, value in network.backbone.state_dict().items():
        if name in plain:
            assert torch.equal(value, plain[name]), name


@pytest.mark.usefixtures("small_nets")
def test_modes_of_rf_convnext_take_over_one_from_the_other(tmp_path: Path) -> None:
    plain = pretrained(tmp_path / "convnext.pt", "convnext_tiny")
    search = make_network("rfconvnext_tiny_rfsearch", 3)
    start(search, tmp_path / "convnext.pt")
    backbone = search.backbone
    assert isinstance(backbone, RFConvNeXt)
    assert torch.equal(backbone.state_dict()["stem.0.weight"], plain["stem.0.weight"])
    with torch.no_grad():
        for convolution in backbone.convolutions.values():
            assert convolution.dilations == [(1, 1), (2, 2)]
            convolution.sample_weights[:2] = torch.tensor([0.1, 0.3])
    torch.save({"state_dict": search.state_dict()}, tmp_path / "search.pt")
    files = (tmp_path / "convnext.pt", tmp_path / "search.pt")
    rates = {}
    for mode in ("single", "multiple"):
        network = make_network(f"rfconvnext_tiny_rf{mode}", 3)
        start(network, *files)
        assert isinstance(network.backbone, RFConvNeXt)
        rates[mode] = [part.dilations for part in network.backbone.convolutions.values()]
        assert torch.equal(network.backbone.state_dict()["stem.0.weight"], plain["stem.0.weight"])
    single = make_network("rfconvnext_tiny_rfsingle", 3)
    start(single, tmp_path / "search.pt", tmp_path / "search.pt")  # dilations are never weights
    assert isinstance(single.backbone, RFConvNeXt)
    assert {len(part.dilations) for part in single.backbone.convolutions.values()} == {1}
    assert rates == {"single": [[(2, 2)]] * 5, "multiple": [[(1, 1), (2, 2), (3, 3)]] * 5}
    assert isinstance(network, ConvNeXtNet)
    nn.init.constant_(network.seg_head.fc.weight, 0.25)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "multiple.pt")
    merged = make_network("rfconvnext_tiny_rfmerge", 3).eval()
    start(merged, tmp_path / "multiple.pt")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(merged(x), network.eval()(x), rtol=1e-5, atol=1e-5)
    trained = {name for name, value in merged.named_parameters() if value.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"backbone", "seg_norm", "seg_head"}
    assert {name.rpartition(".")[0][-7:] for name in trained if "backbone" in name} == {"conv_dw"}


def test_modes_say_which_files_they_need(tmp_path: Path) -> None:
    path = tmp_path / "resnet.pt"
    pretrained(path, "resnet18w05")
    single, merge = (make_network(f"rfconvnext_tiny_rf{mode}", 3) for mode in ("single", "merge"))
    with pytest.raises(UsageError, match=r"takes its dilations from a search.*--search"):
        start(single, path)
    with pytest.raises(UsageError, match=r"resnet\.pt: no .* Give the checkpoint of a run of RF"):
        start(single, path, path)
    with pytest.raises(UsageError, match=r"leave --search out"):
        start(make_network("resnet18w05", 3), path, path)
    with pytest.raises(UsageError, match=r"rfmultiple \(--weights\)"):
        start(merge, None)


@pytest.mark.usefixtures("small_nets")
@pytest.mark.parametrize(
    "model", ["resnet18w05", "vit_small_patch16", "convnext_tiny", "rfconvnext_tiny_rfsearch"]
)
def test_a_batch_is_learnt_by_heart(model: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = make_network(model, 3).train()
    images, ids = batch()
    ids[:] = torch.arange(4, dtype=torch.int16)[:, None, None]
    config = Config(model, decays=(0.9,))
    optimizer = ScaledAdamW(train.parameter_groups(network, config), 5e-3, 0.05)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        losses.append(train.backward(job(tmp_path, tmp_path), network, images, ids).item())
        optimizer.step()
    assert losses[0] == pytest.approx(math.log(4), abs=0.1)
    assert losses[-1] < 0.2 * losses[0]


def test_it_predicts_and_scores(tiny_root: Path, tmp_path: Path) -> None:
    config = replace(SMALL, epochs=4, blr=0.3)
    run = job(tiny_root, tmp_path, config, evaluate_every=2)
    run_stages(run, "train", "predict")
    rows = [
        json.loads(line) for line in (tmp_path / "train" / "log.jsonl").read_text().split("\n")[:-1]
    ]
    assert [row["epoch"] for row in rows if "mIoU" in row] == [2, 4]
    data = run.dataset("validation", masks=True)
    scores = score_run(data, tmp_path, workers=1)
    assert scores.metrics["mIoU"] == pytest.approx(rows[-1]["mIoU"], abs=1e-9)
    kept = json.loads((tmp_path / "scores.json").read_text())
    assert kept["mIoU"] == scores.metrics["mIoU"]
    assert len(kept["network"]) == 64
    assert "ground_truth" not in kept
    truth = tmp_path / "truth"
    for index, mask_name in enumerate(data.names):
        (truth / mask_name).parent.mkdir(parents=True, exist_ok=True)
        masks.save(truth / f"{mask_name}.png", data.mask(index))
    score_run(data, tmp_path, 1, truth)
    told = json.loads((tmp_path / "scores.json").read_text())
    assert told["ground_truth"] == str(truth)
    source = kept["provenance"]
    assert source["settings"]["model"] == "resnet18w05"
    assert source["results"]["train"] == kept["network"]
    assert set(source["data"]) == {"train-semi", "validation"}
    network = load_network(run, 3)
    name = data.names[0]
    with torch.inference_mode():
        image = short_side(data[0]["image"], 32)[None]
        logits = network(normalize(image.float() / 255))
    height, width = data[0]["mask"].shape
    ids = segment.full_size(logits[0].permute(1, 2, 0).numpy(), (width, height))
    stored = masks.load(tmp_path / "predict" / "validation" / f"{name}.png")
    assert (stored == ids).mean() > 0.99


def test_a_run_that_was_stopped_ends_with_the_same_bits(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_nets: None
) -> None:
    config = replace(SMALL, model="vit_small_patch16", drop_path=0.3, accumulate=3)
    whole, parts = (job(tiny_root, tmp_path / name, config) for name in ("whole", "parts"))
    run_stages(whole, "train")
    backward, left = train.backward, [3]

    def ends(*arguments: object) -> Tensor:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return backward(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(train, "backward", ends)
        with pytest.raises(KeyboardInterrupt):
            run_stages(parts, "train")
    torch.manual_seed(123)  # as another process would find it
    run_stages(parts, "train")
    for name, value in state_of(whole).items():
        assert torch.equal(value, state_of(parts)[name]), name


def ranked(root: Path, out: Path, config: Config, scored: Path) -> dict[str, float]:
    """Trains a run and predicts; scores the network of another one."""
    VITS["vit_small_patch16"] = (32, 2, 2)
    run_stages(job(root, out, config), "train", "predict")
    other = job(root, scored, config)
    data, crop = other.dataset("validation"), ShortSide(32)
    alone = [next(iter(by_shape(crop.shapes(data.sizes), 4)))]
    assert len(list(other.batches(data, alone, crop, "one batch"))) == (rank() == 0)
    return segment.evaluate(other, load_network(other, 3))


@pytest.mark.slow
def test_two_ranks_do_what_one_does(tiny_root: Path, tmp_path: Path, small_nets: None) -> None:
    config = replace(SMALL, model="vit_small_patch16", batch=6, drop_path=0.3, epochs=4)
    one, two = tmp_path / "one", tmp_path / "two"
    expected = ranked(tiny_root, one, config, one)
    assert run_ranks(2, tmp_path, ranked, tiny_root, two, config, one) == [expected] * 2
    lines = [(out / "train" / "log.jsonl").read_text().splitlines() for out in (one, two)]
    want, found = ([json.loads(line)["loss"] for line in part] for part in lines)
    assert found == pytest.approx(want, rel=1e-5)
    names = [
        sorted(p.relative_to(out) for p in out.glob("predict/*/*/*.png")) for out in (one, two)
    ]
    assert names[0] == names[1]
    assert len(names[0]) == 12


@pytest.mark.usefixtures("small_nets")
def test_a_search_searches_and_its_run_is_merged_in_the_end(
    tiny_root: Path, tmp_path: Path
) -> None:
    pretrained(tmp_path / "convnext.pt", "convnext_tiny")
    config = replace(SMALL, model="rfconvnext_tiny_rfsearch", search_epochs=1, epochs=3)
    run = job(tiny_root, tmp_path / "search", config, weights=tmp_path / "convnext.pt")
    run_stages(run, "train")
    state = state_of(run)
    steps = {int(v) for name, v in state.items() if name.endswith("current_search_step")}
    assert steps == {3}
    found = tmp_path / "search" / "train" / "checkpoint.pt"
    config = replace(SMALL, model="rfconvnext_tiny_rfmultiple")
    multiple = job(
        tiny_root, tmp_path / "multiple", config, weights=tmp_path / "convnext.pt", search=found
    )
    run_stages(multiple, "train")
    config = replace(SMALL, model="rfconvnext_tiny_rfmerge")
    made = tmp_path / "multiple" / "train" / "checkpoint.pt"
    merge = job(tiny_root, tmp_path / "merge", config, weights=made)
    run_stages(merge, "train", "predict")
    assert (tmp_path / "merge" / "predict" / "done.json").is_file()


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")  # the library's own
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "tf_efficientnet_lite0"])
def test_backbones_of_timm_are_fine_tuned(tiny_root: Path, tmp_path: Path, name: str) -> None:
    config = Config(f"timm:{name}", epochs=2, batch=3, warmup=0, crop=32, side=48)
    run = job(tiny_root, tmp_path, config)
    run_stages(run, "train", "predict")
    network = load_network(run, 3)
    groups = train.parameter_groups(network, config)
    assert len({group["scale"] for group in groups}) > 10
    assert len(list((tmp_path / "predict" / "validation").rglob("*.png"))) == 12


def test_ids_of_large_images_come_from_a_long_side_of_1000() -> None:
    logits = torch.randn(1, 9, 6, 8, generator=torch.Generator().manual_seed(0))
    grid = logits[0].permute(1, 2, 0).contiguous().numpy()

    def resized(height: int, width: int) -> Tensor:
        return F.interpolate(logits, (height, width), mode="bilinear", align_corners=False).argmax(
            1
        )

    for height, width, small in ((30, 40, None), (1000, 1000, None), (900, 1200, (750, 1000))):
        expected = resized(*(small or (height, width)))
        if small:
            expected = F.interpolate(expected[None].float(), (height, width), mode="nearest")[0]
        found = segment.full_size(grid, (width, height))
        assert (torch.from_numpy(found.astype(int)) == expected[0]).float().mean() > 0.9999


def test_masks_of_another_network_are_not_scored(tiny_root: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"Run the same `imagenets semi` again"):
        predictions("validation", tmp_path)
    run = job(tiny_root, tmp_path)
    run_stages(run, "train", "predict")
    assert predictions("validation", tmp_path) == tmp_path / "predict" / "validation"
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    ledger["train"]["result"] = "0" * 64
    (tmp_path / "ledger.json").write_text(json.dumps(ledger))
    with pytest.raises(CorruptError, match="of an earlier network"):
        score_run(run.dataset("validation"), tmp_path)


def test_settings_of_the_presets_and_of_a_run(tiny_root: Path, tmp_path: Path) -> None:
    assert preset_for("vit_base_patch16") == "mae-vit-base"
    assert preset_for("resnet18") == preset_for("timm:anything") == "pass-resnet50"
    few = make_config("vit_small_patch16", "few")
    assert (few.model, few.batch, few.rate) == ("vit_small_patch16", 16, pytest.approx(1e-3))
    assert make_config("vit_base_patch16").rate == 5e-4
    run = job(tiny_root, tmp_path)
    Stages(STAGES, run).run([])
    assert run_settings(tmp_path) == ("3", SMALL)
    (tmp_path / "config.json").write_text('{"tier": "3", "arch": "resnet18"}')
    with pytest.raises(CorruptError, match="no settings of a run of `imagenets semi`"):
        run_settings(tmp_path)
    with pytest.raises(MissingError, match="imagenets semi"):
        run_settings(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch": 1}, "--batch-size 1"),
        ({"accumulate": 3}, "--accumulate 3: 256 images"),
        ({"accumulate": 256}, "equal parts of 2"),
        ({"epochs": 0}, "--epochs 0"),
        ({"epochs": 5}, "--warmup 5: must be fewer than the 5 epochs"),
        ({"blr": 0.0}, "--blr"),
        ({"decays": (0.5, 1.5)}, "--decay"),
        ({"decays": ()}, "--decay"),
        ({"weight_decay": -1.0}, "--weight-decay"),
        ({"drop_path": 1.0}, "--drop-path"),
        ({"crop": 31}, "--crop 31"),
        ({"side": 31}, "--side 31"),
    ],
)
def test_settings_out_of_range_are_named(changes: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_config("resnet50", **changes)


def test_a_preset_or_a_model_is_needed() -> None:
    with pytest.raises(UsageError, match=r"--model.*--preset"):
        make_config(None)
    with pytest.raises(UsageError, match="no preset 'many': choose one of mae-vit-base"):
        make_config("resnet50", "many")
    assert make_config(None, "rfmerge").model == "rfconvnext_tiny_rfmerge"
