"""What is written of a prediction: pages, tables, figures, DICOM, cards."""
