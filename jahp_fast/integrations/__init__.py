# SPDX-License-Identifier: Apache-2.0
"""Plugins for other libraries, a module each; importing one registers it. None is imported by the package itself."""
