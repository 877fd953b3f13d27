"""The batch: notebooks x presets x seeds through papermill; tables and figures made anew from records."""
