"""What happens to pictures between the disk and the network: geometry, colour, policies, erasing and mixing."""
