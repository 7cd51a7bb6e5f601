"""Where results go, on the supervisor's side. No numpy and no pillow here; the preview is the worker's (`preview`)."""
