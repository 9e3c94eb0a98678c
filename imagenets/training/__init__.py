"""What every trained stage shares."""
