"""How predictions are asked for: files, a page, HTTP, DICOM."""
