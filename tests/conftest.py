"""Being here makes the support modules of this folder importable from every folder of tests."""
