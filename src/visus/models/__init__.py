"""Networks: ours, timm's, torchvision's and the user's own, their weights, and what may be frozen of them.

Importing it loads no torch.
"""
