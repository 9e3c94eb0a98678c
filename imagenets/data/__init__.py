"""From raw ImageNet to batches: downloading, planning, packing, verifying, loading."""
