"""The parts that tasks are built from: images, charts, names, outputs."""
