"""The sections of the page of heat maps, a file each."""
