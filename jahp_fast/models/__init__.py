# SPDX-License-Identifier: Apache-2.0
"""The model definitions: `layers` (GDN, masked convolution, entropy models), `priors` (five models), `registry` (build, load).

Importing this package loads nothing; its modules import torch.
"""
