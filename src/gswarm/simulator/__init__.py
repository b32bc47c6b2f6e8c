"""The real host and client on a pretended network, pretended disks and a virtual clock, all drawn from one seed."""
