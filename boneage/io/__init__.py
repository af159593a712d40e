"""Reading and writing files: images, DICOM, HDF5, networks, locks."""
