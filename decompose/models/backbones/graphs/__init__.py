"""Networks of the nodes of a graph, whose input is the tokens of a node as an image.

An image (C + 2, R, K + 1, F + 1) has one channel for each of C classes, one for neighbours without a visible label, and
one for propagated features; its axes are R relations, K + 1 hops, and F features with the size of the group.
"""
