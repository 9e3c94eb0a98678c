"""The sections of the page of a run, a file each; each renders HTML from the files of the run."""
