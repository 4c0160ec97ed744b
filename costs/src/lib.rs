//! What a request costs on a node: cost rows, predictions, calibration. Pure: no clock, no files.
