"""MMSegmentation 1.x: a ResNet-50 with a linear head, fine-tuned on train-semi of ImageNet-S50."""

custom_imports = {"imports": ["imagenets_mmseg"], "allow_failed_imports": False}
default_scope = "mmseg"

data_root = "imagenet-s/ImageNetS50"
num_classes = 51  # background and K classes
ignore_index = 1000
crop_size = (224, 224)

model = {
    "type": "EncoderDecoder",
    "data_preprocessor": {
        "type": "SegDataPreProcessor",
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "bgr_to_rgb": True,
        "size": crop_size,
        "pad_val": 0,
        "seg_pad_val": ignore_index,
    },
    "backbone": {
        "type": "ResNet",
        "depth": 50,
        "norm_cfg": {"type": "BN"},
        "init_cfg": None,  # dict(type="Pretrained", checkpoint="pass.pth"): your weights
    },
    "decode_head": {
        "type": "FCNHead",
        "in_channels": 2048,
        "channels": 2048,
        "in_index": 3,
        "num_convs": 0,
        "concat_input": False,
        "num_classes": num_classes,
        "ignore_index": ignore_index,
        "loss_decode": {"type": "CrossEntropyLoss", "avg_non_ignore": True},
    },
    "test_cfg": {"mode": "whole"},
}

train_pipeline = [
    {"type": "LoadReducedImage"},
    {"type": "LoadIds"},
    {"type": "RandomResize", "scale": (1024, 256), "ratio_range": (0.5, 2.0), "keep_ratio": True},
    {
        "type": "RandomCrop",
        "crop_size": crop_size,
        "cat_max_ratio": 0.75,
        "ignore_index": ignore_index,
    },
    {"type": "RandomFlip", "prob": 0.5},
    {"type": "PhotoMetricDistortion"},
    {"type": "PackSegInputs"},
]
test_pipeline = [
    {"type": "LoadReducedImage"},
    {"type": "Resize", "scale": (1024, 256), "keep_ratio": True},
    {"type": "PackSegInputs", "meta_keys": ("img_path", "seg_map_path", "ori_shape", "img_shape")},
]

train_dataloader = {
    "batch_size": 16,
    "num_workers": 4,
    "sampler": {"type": "InfiniteSampler", "shuffle": True},
    "dataset": {
        "type": "ImageNetS",
        "data_root": data_root,
        "data_prefix": {"img_path": "train-semi", "seg_map_path": "train-semi-segmentation"},
        "pipeline": train_pipeline,
    },
}
val_dataloader = {
    "batch_size": 1,
    "num_workers": 4,
    "sampler": {"type": "DefaultSampler", "shuffle": False},
    "dataset": {
        "type": "ImageNetS",
        "data_root": data_root,
        "data_prefix": {"img_path": "validation", "seg_map_path": "validation-segmentation"},
        "pipeline": test_pipeline,
    },
}
test_dataloader = val_dataloader
val_evaluator = {"type": "BenchmarkMetrics"}
test_evaluator = {"type": "BenchmarkMetrics", "out": "masks"}  # for imagenets-evaluate --pred masks

optim_wrapper = {
    "type": "OptimWrapper",
    "optimizer": {"type": "AdamW", "lr": 5e-4, "weight_decay": 5e-4},
}
param_scheduler = [
    {"type": "PolyLR", "eta_min": 0.0, "power": 0.9, "begin": 0, "end": 3000, "by_epoch": False}
]
train_cfg = {"type": "IterBasedTrainLoop", "max_iters": 3000, "val_interval": 3000}
val_cfg = {"type": "ValLoop"}
test_cfg = {"type": "TestLoop"}
