# SPDX-License-Identifier: Apache-2.0
"""What the operating system gives: files, locks, threads, devices, packages."""
